"""Makes the secrets of API keys, and tells what is kept of them and of the tokens of links.

A secret is 256 random bits, so its SHA-256 needs no salt and no slow hash: those make guessing what people
choose dear, and nobody guesses one of 2^256, however fast. Whoever reads the table has nothing to call with.
A key is found by its hash. What the time of that search could tell is about hashes, and to make a secret
whose hash begins as wanted does not lead to the secret of any key.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

KEY_MARK: Final = "sbx_"
"""How every secret begins: scanners of repositories and logs can look for it."""

COOKIE_MARK: Final = "sbc_"
"""How what a browser has in its cookie begins."""

_RANDOM_BYTES: Final = 32
_SHOWN: Final = len(KEY_MARK) + 6
"""What a list shows of a secret: 36 of its bits, which leaves 220."""


def new_secret() -> str:
    """Return the secret of a new key."""
    return f"{KEY_MARK}{secrets.token_urlsafe(_RANDOM_BYTES)}"


def new_cookie() -> str:
    """Return what a browser that signs in is known by; it is not taken for a key, nor a key for it."""
    return f"{COOKIE_MARK}{secrets.token_urlsafe(_RANDOM_BYTES)}"


def hash_of(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def prefix_of(secret: str) -> str:
    """Return what a secret is recognised by."""
    return secret[:_SHOWN]
