"""Which hosts and addresses are public: everything else is the operator's own network, or nobody's."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import Final

from domain.errors import ToolFailedError

PORTS: Final = frozenset({80, 443, 8080, 8443})
"""Those of web servers; other ports of public hosts are other protocols'."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_UNICAST: Final = ipaddress.ip_network("2000::/3")
"""All that IPv6 has given out: outside of it lie loopback, private and link-local addresses, and the
translated, mapped and site-local ones that lead to an IPv4 address or into a network."""

_REFUSED: Final[tuple[_Network, ...]] = tuple(
    ipaddress.ip_network(each)
    for each in (
        "168.63.129.16/32",  # a cloud's own machine, at an address that looks public
        *("192.0.0.0/24", "192.88.99.0/24"),
        # These hold an IPv4 address, or are no destination at all.
        *("2001::/23", "2002::/16", "3fff::/20"),
    )
)

_PRIVATE_NAMES: Final = (
    *(".internal", ".local", ".localhost", ".localdomain", ".lan", ".home.arpa"),
    *(".svc", ".cluster.local"),
)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
"""As a last label it makes some resolvers read the whole name as an IPv4 address."""


class NotPublicError(ToolFailedError):
    """A host is not one of the public internet; nothing was sent to it."""


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet; `False` for what is no address."""
    try:
        found: _Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found not in _UNICAST:
        return False
    if not found.is_global or found.is_multicast or found.is_reserved:
        return False
    return not any(found in network for network in _REFUSED)


def network_of(address: str) -> bytes:
    """Return what counts as one client: an address, of IPv6 the 2^64 that everybody has."""
    try:
        found: _Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address.encode()
    return found.packed[:8] if isinstance(found, ipaddress.IPv6Address) else found.packed


def refuse_private(host: str, port: int) -> None:
    """Raise `NotPublicError` for a host that is visibly not public, without looking its name up."""
    fault = _fault(host, port)
    if fault:
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        message = (
            f"{shown} is not a host that can be reached, and nothing was sent to it: {fault}. Take a "
            "public one; others are reached only where the operator lists them, each with its port, in "
            "SIGNALBOX_HTTP_ALLOW."
        )
        raise NotPublicError(message)


def _fault(host: str, port: int) -> str:
    if port not in PORTS:
        return f"ports are {', '.join(str(each) for each in sorted(PORTS))}"
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return "" if is_public(host) else "the address is not a public one"
    name = host.lower()
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return "it is a number that is no plain IPv4 address"
    if "." not in name:
        return "a name without a dot is one of a local network"
    for ending in sorted(_PRIVATE_NAMES, key=len, reverse=True):
        if name.endswith(ending):
            return f"names that end in {ending} belong to local networks"
    return ""
