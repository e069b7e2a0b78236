"""Secrets are taken out of texts by their value and by their shape, and nothing else is."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.secrets import SECRET, Scrubber

VALUE = 'cana"ry/pass word+4711=x'


@pytest.mark.parametrize(
    "text",
    [
        f"the key is {VALUE}.",
        f"https://h/?q={quote(VALUE, safe='')}",
        json.dumps({"key": VALUE}),
        base64.b64encode(VALUE.encode()).decode(),
        base64.urlsafe_b64encode(VALUE.encode()).decode(),
        f"cut off: {VALUE[:14]}",
        f"{VALUE[-14:]} was cut off",
        f"twice {VALUE}{VALUE}",
    ],
)
def test_a_known_value_is_found_however_it_is_written(text: str) -> None:
    scrubbed = Scrubber([VALUE, "abc"]).scrub(text)
    assert SECRET in scrubbed
    assert "cana" not in scrubbed
    assert "4711" not in scrubbed


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("sk-proj-abcdefgh12345678 is it", f"{SECRET} is it"),
        ("Authorization: Bearer abc.def-ghi", f"Authorization: Bearer {SECRET}"),
        ("postgresql://me:hunter22@db/x", f"postgresql://{SECRET}@db/x"),
        ("GET /a?q=1&api_key=zzz999zzz&n=2", f"GET /a?q=1&api_key={SECRET}&n=2"),
        ('{"password": "hunter22", "n": 1}', f'{{"password": "{SECRET}", "n": 1}}'),
        ("GET /a?sig=zzz999zzz&n=2", f"GET /a?sig={SECRET}&n=2"),
        ("/approve/WbVsiTFLfffQj_C4", f"/approve/{SECRET}"),
        (f"Cookie: a={SECRET}; b=hunter22", f"Cookie: {SECRET}"),
        (f"AKIA{'A' * 16}", SECRET),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", SECRET),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAA\n-----END RSA PRIVATE KEY-----", SECRET),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, left: str) -> None:
    scrubber = Scrubber()
    assert scrubber.scrub(text) == left
    assert scrubber.scrub(left) == left, "to scrub twice changes nothing more"


PIECES = (
    *(
        "sk-",
        "sbx_",
        "whsec_",
        "tvly-",
        "ghp_",
        "AKIA",
        "AIza",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
    ),
    *(
        "/approve/",
        "Bearer ",
        "basic ",
        "https://",
        "Set-Cookie: ",
        "password=",
        "token: ",
        "?key=",
        "&sig=",
    ),
    *(
        "secret",
        "[",
        "]",
        "[secret]",
        "@",
        ":",
        "=",
        "'",
        '"',
        " ",
        "\n",
        ".",
        "/",
        ";",
        VALUE,
        VALUE[:13],
    ),
    *("abcdef12", "ABCDEFGH12345678", "a" * 33, "hunter22", "4", "-", "_"),
)


@example("https://password=sk-sk-/&sig=@")
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_what_was_scrubbed_has_no_more_secrets(text: str) -> None:
    """A replay scrubs what was recorded, without the values: its digests are to be those of the recording."""
    scrubbed = Scrubber([VALUE]).scrub(text)
    assert Scrubber().scrub(scrubbed) == scrubbed


def test_a_value_that_is_part_of_the_mark_is_none() -> None:
    assert Scrubber(["secret"]).scrub("a secret: sk-abcdefgh12345678") == f"a secret: {SECRET}"
    assert Scrubber(["secret"]).scrub(f"a {SECRET}") == f"a {SECRET}"


def test_a_text_may_have_another_mark_and_no_search_for_what_was_cut() -> None:
    scrubber = Scrubber([VALUE], mark="***", cut=False)
    encoded = base64.b64encode(VALUE.encode()).decode()
    assert scrubber.scrub(f"{VALUE} {encoded} {VALUE[:14]}") == f"*** *** {VALUE[:14]}"
    assert scrubber.scrub_value({"token": "x"}) == {"token": "***"}


@pytest.mark.parametrize(
    "text",
    [
        "The tower was completed in 1904, after 12 years.",
        "max_tokens: 4096, input_tokens=12",
        "The basic idea: a token is a word.",
        "A basic understanding of hf_hub_download_file and sk-learning.",
        "https://en.wikipedia.org/wiki/Fastnet_Rock?page=2#History",
        "run_01a227e3a0b9770eb3422687454d5e39 and apr_01a227e3a0b9770eb342",
        "0e4c2b9d" * 8,
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert Scrubber(["unrelated-secret-value"]).scrub(text) == text


def test_a_json_value_is_scrubbed_in_its_texts_and_under_names_that_say_so() -> None:
    value = {
        "headers": {"Authorization": "x", "Cookie": "a=b", "X-Api-Key": "y", "Accept": "text/html"},
        "usage": {"input_tokens": 3},
        "token": None,
        "list": [f"a {VALUE}", 7, True],
    }
    assert Scrubber([VALUE]).scrub_value(value) == {
        "headers": {
            "Authorization": SECRET,
            "Cookie": SECRET,
            "X-Api-Key": SECRET,
            "Accept": "text/html",
        },
        "usage": {"input_tokens": 3},
        "token": None,
        "list": [f"a {SECRET}", 7, True],
    }
