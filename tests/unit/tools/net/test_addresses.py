"""Which addresses and names are public, judged without looking anything up."""

from __future__ import annotations

import ipaddress

import pytest

from tools.net.addresses import NotPublicError, is_public, refuse_private

PUBLIC = ("1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:82a::200e")


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "network",
    [
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("168.63.129.16/32", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"),
        *("100::/64", "2001::/32", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16"),
        *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    ],
)
def test_no_address_of_a_special_network_is_public(network: str) -> None:
    """Neither its first nor its last, nor one between."""
    whole = ipaddress.ip_network(network)
    for position in (0, whole.num_addresses // 2, -1):
        assert not is_public(str(whole[position]))


@pytest.mark.parametrize(
    "text", ["", "example.com", "1.2.3", "127.1", "0x7f.1", "::g", "1.1.1.1/32"]
)
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("port", [80, 443, 8080, 8443])
@pytest.mark.parametrize("host", ["example.com", "sub.example.co.uk", "xn--mnchen-3ya.de", *PUBLIC])
def test_a_public_host_is_let_pass_on_the_ports_of_the_web(host: str, port: int) -> None:
    refuse_private(host, port)
    for other in (22, 25, 6379, 65_535):
        with pytest.raises(NotPublicError, match="ports are 80, 443, 8080, 8443"):
            refuse_private(host, other)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("10.0.0.1", "not a public one"),
        ("::1", "not a public one"),
        ("0177.0.0.1", "no plain IPv4 address"),
        ("1.2.3.4.5", "no plain IPv4 address"),
        ("example.0x10", "no plain IPv4 address"),
        ("localhost", "without a dot"),
        ("DB.Internal", "names that end in .internal"),
        ("a.home.arpa", "end in .home.arpa belong to local networks"),
        ("a.b.cluster.local", "end in .cluster.local belong to local networks"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(host: str, why: str) -> None:
    with pytest.raises(NotPublicError) as caught:
        refuse_private(host, 80)
    assert why in caught.value.detail
    assert "SIGNALBOX_HTTP_ALLOW" in caught.value.detail
