"""Urls that lead, or seem to lead, to where a server must not go; and names with the addresses they have."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

PUBLIC: Final = "93.184.215.14"
METADATA: Final = "169.254.169.254"

HOSTILE: Final = (
    # This machine and networks, in all the ways in which an IPv4 address can be written.
    *("http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/"),
    *("http://0177.0.0.1/", "http://0x7f.0.0.1/", "http://127.0.0.1.:80/", "http://0/"),
    *("http://0.0.0.0/", "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.1.1/"),
    *("http://017700000001/", "http://127.0.0.0x1/", "http://1.2.3.4.5/"),
    # Addresses that are the clouds' own, shared, for documents, for many, or nobody's.
    *(
        "http://169.254.169.254/latest/meta-data/",
        "http://168.63.129.16/",
        "http://100.100.100.200/",
    ),
    *("http://192.0.0.192/", "http://192.88.99.1/", "http://198.18.0.1/", "http://203.0.113.7/"),
    *("http://224.0.0.1/", "http://240.0.0.1/", "http://255.255.255.255/"),
    # IPv6, and IPv4 within it: mapped, compatible, translated, 6to4, Teredo.
    *("http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:a9fe:a9fe]/"),
    *("http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b:1::a9fe:a9fe]/"),
    *("http://[2002:7f00:1::]/", "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/"),
    *("http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[fc00::1]/", "http://[fec0::1]/"),
    *("http://[fd00:ec2::254]/", "http://[ff02::1]/", "http://[2001:db8::1]/", "http://[3fff::1]/"),
    *("http://[100::1]/", "http://[5f00::1]/"),
    # Names that only a local network has.
    *(
        "http://localhost/",
        "http://intranet/",
        "http://metadata.google.internal/",
        "http://nas.local/",
    ),
    *("http://a.localhost/", "http://router.lan/", "http://nas.home.arpa/", "http://db.prod.svc/"),
    "http://db.default.svc.cluster.local/",
    # Digits and dots of other scripts, and what readers of urls disagree about.
    *(
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://127\u30020\u30020\u30021/",
        "http://%31%32%37.0.0.1/",
    ),
    *("http://\u2460\u2461\u2466.0.0.1/", "http://loc\u00adalhost/"),
    *("http://public.example.com@127.0.0.1/", "http://user:pw@public.example.com/"),
    *("http://public.example.com#@127.0.0.1/", "http://127.0.0.1#@public.example.com/"),
    *("http://127.0.0.1\\@public.example.com/", "http://public.example.com\\@127.0.0.1/"),
    *("http://127.0.0.1\t.example.com/", "http://public.example.com:80:22/", "http:///127.0.0.1/"),
    *("http:127.0.0.1/", "//127.0.0.1/", "http://public.example.com\r\nHost: 127.0.0.1/"),
    # Other protocols, and ports of other services.
    *(
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_INFO",
        "ftp://public.example.com/",
        "data:,x",
    ),
    *("dict://127.0.0.1:11211/", "http+unix://%2Frun%2Fdocker.sock/", "jar:http://127.0.0.1!/"),
    *(
        "http://public.example.com:22/",
        "http://public.example.com:6379/",
        "http://public.example.com:0/",
    ),
    # Public names with addresses that are not: one alone, or one among good ones.
    *("http://private.example.com/", "http://mixed.example.com/", "http://mapped.example.com/"),
    *("http://metadata.example.com/", "http://shared.example.com/", "http://scoped.example.com/"),
    *("https://private.example.com/", "http://unknown.example.com/", "http://nothing.example.com/"),
)

ADDRESSES: Final[Mapping[str, Sequence[str]]] = {
    "public.example.com": [PUBLIC],
    "private.example.com": ["10.0.0.1"],
    "mixed.example.com": [PUBLIC, "127.0.0.1"],
    "mapped.example.com": ["::ffff:127.0.0.1"],
    "metadata.example.com": [METADATA],
    "shared.example.com": ["100.100.100.200", PUBLIC],
    "scoped.example.com": ["fe80::1%eth0"],
    "nothing.example.com": [],
}


class Names:
    """Answers for names, and counts how often it was asked for each."""

    def __init__(self, *answers: Mapping[str, Sequence[str]]) -> None:
        self._answers = answers or (ADDRESSES,)
        self.asked: Counter[str] = Counter()

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the next answer for a name; the last one stays."""
        del port
        number = min(self.asked[host], len(self._answers) - 1)
        self.asked[host] += 1
        if host not in self._answers[number]:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return self._answers[number][host]
