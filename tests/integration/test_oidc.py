"""Tokens of an issuer: whom the server takes them for, and which it refuses."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from tests.fakes.http_target import CountingTarget
from tests.fakes.running import Product
from tests.integration.callers import issue
from tests.integration.conftest import Start
from tests.integration.problem_checks import assert_problem

RSA: Final = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
EC: Final = ECKey.generate_key("P-256", {"kid": "ec-1", "use": "sig"})
OTHER: Final = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
NEW: Final = RSAKey.generate_key(2048, {"kid": "rsa-2", "use": "sig"})

JWKS: Final = "/keys"
AUDIENCE: Final = "https://signalbox.example"


class Issuer(CountingTarget):
    """Serves its keys and says where they are."""

    @property
    def name(self) -> str:
        """Return what stands in its tokens."""
        return f"http://{self.address}"

    def serve(self, *keys: RSAKey | ECKey, **document: Any) -> None:
        """Serve these keys from now on."""
        listed = [key.as_dict(private=False) for key in keys]
        self._json(JWKS, {"keys": listed})
        discovery = {"issuer": self.name, "jwks_uri": self.url(JWKS), **document}
        self._json("/.well-known/openid-configuration", discovery)

    def _json(self, path: str, document: dict[str, Any]) -> None:
        headers = {"content-type": "application/json"}
        self.reply(path, headers=headers, body=json.dumps(document).encode())

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return the claims of a good token, some of them changed; `None` leaves one out."""
        now = int(time.time())
        claims = {
            "iss": self.name,
            "aud": AUDIENCE,
            "sub": "ada",
            "exp": now + 300,
            "nbf": now - 5,
            "scope": "openid runs:read runs:write",
            "org": "acme",
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, key: RSAKey | ECKey = RSA, alg: str = "RS256", **changed: Any
    ) -> dict[str, str]:
        """Return the header of a request with a token."""
        header = {"alg": alg, "kid": key.kid}
        signed = jwt.encode(header, self.claims(**changed), key, algorithms=[alg])
        return {"authorization": f"Bearer {signed}"}


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """Run an issuer of tokens."""
    async with Issuer() as running:
        running.serve(RSA, EC)
        yield running


def rules(issuer: Issuer, **more: Any) -> str:
    """Return the setting that trusts an issuer."""
    given = {"issuer": issuer.name, "audience": AUDIENCE, "tenant_claim": "org", **more}
    return json.dumps(given)


@pytest.fixture
async def trusting(start: Start, issuer: Issuer) -> AsyncIterator[Product]:
    """Run the product with trust in the issuer."""
    async with start(oidc=rules(issuer)) as product:
        yield product


async def ask(product: Product, headers: dict[str, str]) -> httpx.Response:
    """Ask for something that any caller with `runs:read` may have."""
    return await product.client.get("/v1/info", headers=headers)


async def refused(product: Product, headers: dict[str, str]) -> str:
    """Return why a token is refused."""
    response = await ask(product, headers)
    problem = assert_problem(response, "unauthenticated")
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    assert headers["authorization"][7:40] not in response.text
    return str(problem["detail"])


async def test_a_good_token_is_taken_for_its_subject(trusting: Product, issuer: Issuer) -> None:
    """Its scopes and its tenant count, and the run is listed under who asked for it."""
    for headers in (issuer.token(), issuer.token(EC, "ES256"), issuer.token(alg="PS256")):
        assert (await ask(trusting, headers)).status_code == 200
    assert_problem(await trusting.client.get("/v1/info"), "unauthenticated")
    body = {"task": "What is 17% of 80?"}
    created = await trusting.client.post("/v1/runs?wait=20", json=body, headers=issuer.token())
    assert created.json()["status"] == "completed", created.text
    usage = await trusting.client.get("/v1/usage?group_by=key", headers=issuer.token())
    assert [row["key"] for row in usage.json()["data"]] == [f"{issuer.name}|ada"]
    path = f"/v1/runs/{created.json()['id']}"
    same = await trusting.client.get(path, headers=issuer.token(sub="bob"))
    assert same.status_code == 200
    other = await trusting.client.get(path, headers=issuer.token(org="other"))
    assert_problem(other, "not-found")
    assert issuer.count(JWKS) == 1


async def test_a_token_without_the_scope_is_forbidden(trusting: Product, issuer: Issuer) -> None:
    """Scopes that are none of ours give nothing; a list is read as well."""
    headers = issuer.token(scope="openid profile")
    assert_problem(await ask(trusting, headers), "forbidden")
    assert (await ask(trusting, issuer.token(scope=["runs:read"]))).status_code == 200
    assert_problem(await ask(trusting, issuer.token(scope={"runs:read": 1})), "forbidden")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"iss": "https://elsewhere.example"}, "iss"),
        ({"aud": "https://elsewhere.example"}, "aud"),
        ({"aud": None}, "aud"),
        ({"exp": None}, "exp"),
        ({"exp": 1_700_000_000}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"nbf": 4_000_000_000}, "nbf"),
        ({"sub": None}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "a\x00b"}, "sub"),
        ({"sub": "a" * 300}, "sub"),
        ({"org": None}, "org"),
        ({"org": "../other"}, "org"),
        ({"org": ["acme"]}, "org"),
    ],
)
async def test_claims_have_to_be_right(
    trusting: Product, issuer: Issuer, changed: dict[str, Any], named: str
) -> None:
    """The refusal names the claim, and not what it said."""
    assert named in await refused(trusting, issuer.token(**changed))


async def test_a_clock_may_be_a_little_off(trusting: Product, issuer: Issuer) -> None:
    """Some seconds, in either direction; not minutes."""
    now = int(time.time())
    assert (await ask(trusting, issuer.token(exp=now - 10))).status_code == 200
    assert (await ask(trusting, issuer.token(nbf=now + 10))).status_code == 200
    await refused(trusting, issuer.token(exp=now - 120))
    await refused(trusting, issuer.token(nbf=now + 120))


def raw(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> dict[str, str]:
    """Return the header of a request with a token put together by hand."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return {"authorization": f"Bearer {text}"}


async def test_only_the_issuers_signature_counts(trusting: Product, issuer: Issuer) -> None:
    """No signature, somebody else's, and one made with the public key as a secret."""
    claims = issuer.claims()
    for alg in ("none", "None", "HS256", "nonsense", 7, None):
        await refused(trusting, raw({"alg": alg, "kid": "rsa-1"}, claims, b"x"))
    await refused(trusting, raw({"alg": "RS256", "kid": "rsa-1"}, claims, b"x"))
    await refused(trusting, issuer.token(OTHER))
    unsigned = raw({"alg": "HS256", "kid": "rsa-1"}, claims)["authorization"][7:-1]
    made = hmac.digest(RSA.as_pem(private=False), unsigned.encode(), "sha256")
    await refused(trusting, raw({"alg": "HS256", "kid": "rsa-1"}, claims, made))
    await refused(trusting, raw({"alg": "ES256", "kid": "rsa-1"}, claims, b"x" * 64))
    crossed = {"alg": "RS256", "kid": "rsa-1", "crit": ["x"], "x": 1}
    await refused(trusting, raw(crossed, claims, b"x"))


@pytest.mark.parametrize("text", ["x", "a.b", "a.b.c", "..", "e30.e30.", "\u00ff.\u00ff.\u00ff"])
async def test_what_is_no_token_is_refused(trusting: Product, text: str) -> None:
    """Whatever stands there."""
    sent = {b"authorization": f"Bearer {text}".encode("latin-1")}
    assert_problem(await trusting.client.get("/v1/info", headers=sent), "unauthenticated")


async def test_new_keys_of_the_issuer_are_fetched_once(trusting: Product, issuer: Issuer) -> None:
    """A key that is not known yet is looked for; what names one that is not there brings no flood."""
    assert (await ask(trusting, issuer.token())).status_code == 200
    issuer.serve(NEW)
    assert (await ask(trusting, issuer.token(NEW))).status_code == 200
    assert issuer.count(JWKS) == 2
    assert "kid" in await refused(trusting, issuer.token(RSA))
    for _ in range(5):
        await refused(trusting, issuer.token(RSA))
    assert issuer.count(JWKS) == 3
    assert (await ask(trusting, issuer.token(NEW))).status_code == 200


async def test_an_issuer_that_is_away_is_not_the_callers_fault(
    start: Start, issuer: Issuer
) -> None:
    """Without keys nobody can be told apart, so the answer is to come back."""
    issuer.reply(JWKS, status=500)
    async with start(oidc=rules(issuer)) as product:
        response = await ask(product, issuer.token())
        assert_problem(response, "overloaded")
        assert int(response.headers["retry-after"]) >= 1
        assert_problem(await ask(product, issuer.token()), "overloaded")
    assert issuer.count(JWKS) == 1


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://elsewhere.example"},
        {"jwks_uri": "http://elsewhere.example/keys"},
        {"jwks_uri": None},
        {"more": "x" * 300_000},
    ],
)
async def test_a_wrong_description_of_the_issuer_is_not_followed(
    start: Start, issuer: Issuer, document: dict[str, Any]
) -> None:
    """Another's, one that leads into the clear, one that leads nowhere, and one without end."""
    issuer.serve(RSA, **document)
    async with start(oidc=rules(issuer)) as product:
        assert_problem(await ask(product, issuer.token()), "overloaded")
    assert issuer.count(JWKS) == 0


async def test_keys_may_be_named_by_their_address(start: Start, issuer: Issuer) -> None:
    """Then nobody asks the issuer where they are; without a claim for it the tenant is `default`."""
    given = rules(issuer, jwks_url=issuer.url(JWKS), tenant_claim=None)
    async with start(oidc=given) as product:
        _, key = await issue(product, tenant="default")
        body = {"task": "What is 17% of 80?"}
        created = await product.client.post("/v1/runs", json=body, headers=issuer.token(org=None))
        path = f"/v1/runs/{created.json()['id']}"
        assert (await product.client.get(path, headers=key)).status_code == 200
    assert issuer.count("/.well-known/openid-configuration") == 0


async def test_a_browser_signs_in_with_a_token_for_as_long_as_it_is_good(
    start: Start, issuer: Issuer, tmp_path: Path
) -> None:
    """And no longer than the server trusts its issuer."""
    url = f"sqlite:///{tmp_path}/runs.db"
    here = {"sec-fetch-site": "same-origin"}
    async with start(oidc=rules(issuer), database_url=url) as product:
        token = issuer.token()["authorization"].removeprefix("Bearer ")
        made = await product.client.post("/session", json={"api_key": token}, headers=here)
        assert made.status_code == 204, made.text
        [cookie] = made.headers.get_list("set-cookie")
        [seconds] = re.findall(r"Max-Age=(\d+)", cookie)
        assert 0 < int(seconds) <= 300
        told = (await product.client.get("/session")).json()
        assert (told["caller"]["id"], told["caller"]["tenant_id"]) == (f"{issuer.name}|ada", "acme")
        assert (await product.client.get("/v1/runs")).status_code == 200
        kept = dict(product.client.cookies)
        wrong = await product.client.post("/session", json={"api_key": f"{token}x"}, headers=here)
        assert_problem(wrong, "unauthenticated")
    async with start(env="production", database_url=url) as product:
        product.client.cookies.update(kept)
        assert_problem(await product.client.get("/v1/runs"), "unauthenticated")


async def test_the_page_takes_the_token_that_a_proxy_passes_on(
    trusting: Product, issuer: Issuer
) -> None:
    """So a proxy that signs people in is enough, and nobody is asked for a key."""
    passed = {
        **issuer.token(),
        "x-forwarded-user": "eve",
        "x-forwarded-for": "203.0.113.9",
        "sec-fetch-site": "same-origin",
    }
    told = (await trusting.client.get("/session", headers=passed)).json()
    assert (told["signed_in"], told["caller"]["id"]) == (True, f"{issuer.name}|ada")
    body = {"task": "What is 17% of 80?"}
    created = await trusting.client.post("/v1/runs?wait=20", json=body, headers=passed)
    assert created.json()["status"] == "completed", created.text
    named = {"x-forwarded-user": "ada"}
    assert (await trusting.client.get("/session", headers=named)).json()["signed_in"] is False
    assert_problem(await trusting.client.get("/v1/runs", headers=named), "unauthenticated")
