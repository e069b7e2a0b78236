"""What the doctor finds beyond this machine: its own address, the issuer of tokens, traces, webhooks."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx
from langsmith.utils import get_api_url

from domain.addresses import shown_url
from domain.errors import ToolFailedError
from service.commands.findings import Finding, fail, masked, ok, warn
from service.endpoints import Reach, is_loopback
from service.ids import SystemClock
from service.oidc import Tokens
from service.settings import Settings
from tools.net.dialling import look_up

REACH_SECONDS: Final = 5.0
"""How long is waited for an answer from elsewhere."""


async def public_url(settings: Settings) -> list[Finding]:
    """Look whether people reach this server at its address; from here, which may not be from everywhere."""
    url = settings.public_url
    if url is None:
        return [ok("public_url", "not set: questions are sent to webhooks without links")]
    found = []
    host = httpx.URL(url).host
    if not url.startswith("https://") and not is_loopback(host):
        fix = "Serve it over https, and write https:// in SIGNALBOX_PUBLIC_URL."
        text = f"{url} is not https: whoever reads along may decide with a link"
        found.append(warn("public_url", text, fix))
    status = await _status_of(f"{url}/health/live")
    if status == httpx.codes.OK:
        return found or [ok("public_url", f"{url} leads to a server")]
    what = f"answered {status}" if isinstance(status, int) else f"does not answer ({status})"
    fix = "Start the server, and look at name, certificate and proxy; or mend SIGNALBOX_PUBLIC_URL."
    return [*found, warn("public_url", f"{url}/health/live {what}", fix)]


async def oidc(settings: Settings) -> list[Finding]:
    """Look whether the keys of the issuer of tokens can be had."""
    rules = settings.oidc
    if rules is None:
        return [ok("oidc", "not set: nobody's tokens are taken")]
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            async with asyncio.timeout(REACH_SECONDS):
                keys = await Tokens(rules, client, SystemClock()).fetch_keys()
        except (httpx.HTTPError, ValueError, TimeoutError) as error:
            why = str(error) if isinstance(error, ValueError) else type(error).__name__
            where = rules.jwks_url or f"{rules.issuer.rstrip('/')}/.well-known/openid-configuration"
            text = f"the keys of {rules.issuer} cannot be had from {where} ({why})"
            fix = (
                "Mend issuer or jwks_url in SIGNALBOX_OIDC, or let this machine reach it. "
                "Until then every token is refused."
            )
            return [fail("oidc", text, fix)]
    return [ok("oidc", f"{len(keys)} keys of {rules.issuer}")]


async def langsmith(settings: Settings) -> list[Finding]:
    """Look whether traces can be sent to LangSmith."""
    key = settings.langsmith_api_key
    if not settings.langsmith_tracing or key is None:
        return [ok("langsmith", "off: nothing is sent there")]
    url = get_api_url(None)
    status = await _status_of(f"{url}/info")
    if isinstance(status, int) and status < httpx.codes.INTERNAL_SERVER_ERROR:
        return [ok("langsmith", f"{shown_url(url)} answers; key {masked(key.get_secret_value())}")]
    text = f"{shown_url(url)} does not answer ({status}); runs go on without being traced"
    fix = "Let this machine reach it, mend LANGSMITH_ENDPOINT, or set LANGSMITH_TRACING=false."
    return [warn("langsmith", text, fix)]


async def webhooks(settings: Settings, receivers: list[str]) -> list[Finding]:
    """Look whether the hosts that webhooks go to take connections; nothing is sent to them."""
    if not receivers:
        return [ok("webhooks", "nobody receives any yet")]
    reach = Reach(vouched=settings.http_allow, development=settings.env == "development")
    hosts = {httpx.URL(url).netloc.decode(): url for url in receivers}
    faults = await asyncio.gather(*(_fault_of(reach, url) for url in hosts.values()))
    fix = (
        "Let this machine reach it; a private host has to be in SIGNALBOX_HTTP_ALLOW. One that is gone: "
        "`signalbox webhooks forget`."
    )
    # Of an address only the host: the rest of it may be a secret.
    found = [
        warn("webhooks", f"{host}: {fault}", fix)
        for host, fault in zip(hosts, faults, strict=True)
        if fault
    ]
    return found or [ok("webhooks", f"{', '.join(hosts)} can be reached")]


async def _fault_of(reach: Reach, url: str) -> str | None:
    try:
        target = reach.target(url).target
        async with asyncio.timeout(REACH_SECONDS):
            addresses = await look_up(target.host, target.port)
            _, writer = await asyncio.open_connection(addresses[0], target.port)
    except ToolFailedError as error:
        return error.detail
    except (OSError, TimeoutError) as error:
        return f"it cannot be reached ({type(error).__name__})"
    writer.close()
    return None


async def _status_of(url: str) -> int | str:
    """Return the status of an answer, or the name of what kept it away."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=REACH_SECONDS) as client:
            async with asyncio.timeout(REACH_SECONDS):
                return (await client.get(url)).status_code
    except (httpx.HTTPError, TimeoutError) as error:
        return type(error).__name__
