"""Where a page is, and where a redirect leads."""

from __future__ import annotations

import pytest

from domain.errors import ToolFailedError
from tools.net.targets import read_page, read_redirect


@pytest.mark.parametrize(
    ("url", "location", "leads_to"),
    [
        ("https://a.example.com/b/c?d", "e", "https://a.example.com/b/e"),
        ("https://a.example.com/b/", "/e#f", "https://a.example.com/e"),
        ("https://a.example.com/b/", "?x=1", "https://a.example.com/b/?x=1"),
        ("https://a.example.com/", "//B.example.com/c", "https://b.example.com/c"),
        ("http://a.example.com/", "https://a.example.com/", "https://a.example.com/"),
        ("http://a.example.com/", "http://b.example.com:8080", "http://b.example.com:8080/"),
        ("http://a.example.com/", "/gr\xc3\xbcn/%2F b", "http://a.example.com/gr%C3%BCn/%2F%20b"),
    ],
)
def test_a_redirect_is_read_from_where_it_stands(url: str, location: str, leads_to: str) -> None:
    assert str(read_redirect(read_page(url), location).url) == leads_to


@pytest.mark.parametrize(
    ("url", "location", "why"),
    [
        ("https://a.example.com/", "http://a.example.com/", "from https to http"),
        ("https://a.example.com/", "HTTP://b.example.com/", "from https to http"),
        ("http://a.example.com/", "ftp://a.example.com/", "cannot be used"),
        ("http://a.example.com/", "file:///etc/passwd", "cannot be used"),
        ("http://a.example.com/", "http://u:p@b.example.com/", "cannot be used"),
        ("http://a.example.com/", "http://b.example.com\\@c.example.com/", "cannot be used"),
        ("http://a.example.com/", "http://[::1/", "cannot be used"),
        ("http://a.example.com/", "http://\xef\xbc\x91.example.com/", "cannot be used"),
    ],
)
def test_a_redirect_that_leads_astray_is_not_followed(url: str, location: str, why: str) -> None:
    with pytest.raises(ToolFailedError, match=why):
        read_redirect(read_page(url), location)


def test_the_fragment_of_a_page_is_left_out() -> None:
    assert str(read_page("https://a.example.com/b?c#d/../e").url) == "https://a.example.com/b?c"
    with pytest.raises(ToolFailedError):
        read_page("https://a.example.com#@b.example.com/")
