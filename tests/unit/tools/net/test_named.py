"""Which hosts a task names: a host that it does not mean must not slip through beside one that it does."""

from __future__ import annotations

import pytest

from tools.net.named import is_named


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Read https://api.example.com/v1?x=1 and sum up.", "api.example.com:443"),
        ("Read HTTP://API.Example.com:8080.", "api.example.com:8080"),
        ("(see [this](https://example.com)).", "example.com:443"),
        ("first http://a.example.com,http://b.example.com", "b.example.com:80"),
        ("Ask api.example.com, please.", "api.example.com:443"),
        ("Ask api.example.com.", "api.example.com:80"),
        ("Ask `example.com/docs`!", "example.com:443"),
        ("Ask example.com:8443", "example.com:8443"),
        ("Ask 93.184.215.14:80", "93.184.215.14:80"),
        ("Ask http://[2606:4700::1]:8080/", "[2606:4700::1]:8080"),
    ],
)
def test_a_host_that_the_text_names_is_known(text: str, address: str) -> None:
    assert is_named(address, text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", "example.com:443"),
        ("Read https://example.com/", "secret.example.com:443"),
        ("Read https://api.example.com/", "example.com:443"),
        ("Read https://example.com/", "example.com:80"),
        ("Read http://example.com/", "example.com:443"),
        ("Read https://example.com/", "xexample.com:443"),
        ("Read https://example.com/", "example.co:443"),
        ("Ask evil-example.com", "example.com:443"),
        ("Ask example.com.evil.org", "example.com:443"),
        ("Ask \u00e9xample.com", "xample.com:443"),
        ("Ask example.com:8443", "example.com:443"),
        ("Mail me@example.com", "example.com:443"),
        ("Read https://good.example.com@example.com/", "example.com:443"),
        ("Read https://good.example.com@example.com/", "good.example.com:443"),
        ("Read https://good.example.com:pw@example.com/", "good.example.com:443"),
        ("Read https://good.example.com/?next=https://example.com/", "example.com:443"),
        ("Read https://good.example.com/example.com", "example.com:443"),
        ("Write report.md and main.py", "report.md:443"),
        ("Look into src/example.com", "example.com:443"),
    ],
)
def test_a_host_that_the_text_does_not_name_is_not(text: str, address: str) -> None:
    assert not is_named(address, text)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "part", ["a.", "a.b-", "http://", "http://a@ ", "http://a:1", "a://", "a.b.com ", "*", "["]
)
def test_no_text_takes_long(part: str) -> None:
    """A text of 100,000 characters that a careless pattern would read again from each of them."""
    assert not is_named("example.com:443", part * (100_000 // len(part)))
