"""What opens doors is in no text, in whatever it stands; what does not stays readable."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.secrets import LEAST_CHARS
from monitoring.masking import MASK, make_mask, many_lines, one_line
from service.secrets import new_cookie, new_secret

SECRET = "Zq7-vX2_kL9mN4pR8sT1"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"

SHAPES = {
    "our key": (new_secret(), None),
    "our cookie": (new_cookie(), None),
    "a webhook's secret": (
        "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode(),
        None,
    ),
    "a link": ("/approve/WbVsiTFLfffQj_C4QIVpnqsM1dp6unn91B7j7lG1At8", "WbVsiTFL"),
    "a link with a query": ("/approve/WbVsiTFLfffQj_C4QIVpnq?x=1", "WbVsiTFL"),
    "OpenAI": (f"sk-proj-{SECRET}{SECRET}", None),
    "OpenAI, old": ("sk-abcdefghijklmnopqrstuvwx1234", None),
    "Anthropic": (f"sk-ant-api03-{SECRET}", None),
    "Tavily": ("tvly-dev-0123456789abcdefgh", None),
    "LangSmith": ("lsv2_pt_0123456789abcdef0123456789abcdef_0123456789", None),
    "Groq": (f"gsk_{SECRET}", None),
    "Google": ("AIzaSyA0123456789abcdefghijklmnopqrstuv", None),
    "GitHub": ("ghp_0123456789abcdefghijABCDEFGHIJ", None),
    "AWS": ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
    "a JWT": (JWT, "dozjgNryP4J3"),
    "a header": (f"Authorization: Bearer {SECRET}", SECRET),
    "a header in JSON": (f'{{"authorization": "Bearer {SECRET}"}}', SECRET),
    "a header in a repr": (f"{{'authorization': 'bearer {SECRET}'}}", SECRET),
    "basic": ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNz"),
    "a cookie": (f"Cookie: theme=dark; session={SECRET}", SECRET),
    "a password in a URL": (f"postgresql://signalbox:{SECRET}@db:5432/runs", SECRET),
    "an odd password in a URL": (f"https://user:p@{SECRET}:x@host/path", SECRET),
    "a token as user": (f"https://{SECRET}@host/path", SECRET),
    "a query": (f"GET https://host/search?api_key={SECRET}&q=a", SECRET),
    "a query, other": (f"https://host/?access_token={SECRET}", SECRET),
    "a field": (f'{{"api_key": "{SECRET}"}}', SECRET),
    "a field of a repr": (f"Client(api_key='{SECRET}', timeout=3)", SECRET),
    "a setting": (f"OPENAI_API_KEY={SECRET}", SECRET),
    "a password": (f"password: {SECRET}", SECRET),
    "a private key": (
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        SECRET,
    ),
    "half a private key": (f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n", SECRET),
}


@pytest.mark.parametrize(("text", "secret"), SHAPES.values(), ids=SHAPES)
def test_what_looks_like_a_secret_is_masked(text: str, secret: str | None) -> None:
    shown = make_mask().scrub(f"It said: {text} and went on.")
    assert (secret or text) not in shown
    assert MASK in shown
    assert shown.startswith("It said: ")


@pytest.mark.parametrize(
    "text",
    [
        "The task-runner asks sk-learn for a pipeline.",
        "run_01a227ded6db70b99c9e852c97817069 waits for apr_01a227ded6db70b99c9e852c97817069",
        "GET /v1/runs/run_01a227ded6db70b99c9e852c97817069/events 200",
        "max_tokens: 20000, input_tokens=412",
        "The route is /approve/{token}.",
        "A basic understanding of bearers.",
        "https://example.com/a?q=mean#part and mail@example.com",
        "Signalbox is at http://127.0.0.1:8000 (docs at /docs).",
    ],
)
def test_what_is_none_stays_as_it_is(text: str) -> None:
    assert make_mask().scrub(text) == text


def test_the_host_of_a_url_is_still_there() -> None:
    """It is what somebody who looks for a fault needs."""
    assert make_mask().scrub("postgresql://u:p4ssw0rd@db:5432/x") == "postgresql://***@db:5432/x"


@given(st.text(min_size=LEAST_CHARS), st.text(max_size=50), st.text(max_size=50))
def test_a_secret_that_is_known_is_masked_in_whatever_it_stands(
    secret: str, before: str, after: str
) -> None:
    """As it is, in a URL, in JSON, in a repr; beside any text."""
    mask = make_mask([secret, "another-secret"])
    for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        assert form not in mask.scrub(before + form + after).replace(MASK, "\x00" * 3)


def test_a_secret_within_a_longer_one_leaves_nothing_of_it() -> None:
    assert make_mask(["abcdef", "abcdefghij"]).scrub("x abcdefghij y") == "x *** y"


def test_what_is_too_short_for_a_secret_does_not_mask_every_word() -> None:
    assert make_mask(["a", "", "test"]).scrub("a test of a test") == "a test of a test"


@given(st.text())
def test_a_text_is_one_line_and_shows_whatever_is_in_it(text: str) -> None:
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", shown)
    shown.encode()  # it can be written
    assert one_line(shown) == shown


@given(st.text())
def test_a_trace_keeps_its_lines_and_no_other_control(text: str) -> None:
    shown = many_lines(text)
    assert shown.count("\n") == text.count("\n")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x1b\u2028\u202e\ud800-\udfff]", shown)
