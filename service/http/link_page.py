"""The page on which one approval is decided: plain HTML that needs no script, and shows everything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from datetime import datetime
from typing import Any, Final

from domain.approval import Approval, DecisionMade
from domain.run import Run
from domain.unseen import shows
from service.links import LINK_PREFIX, Shown, State

_STYLE: Final = """
:root{color-scheme:light dark;--bg:#fbfaf7;--panel:#fff;--soft:#f4f2ee;--ink:#20222b;--ink2:#595c68;--line:#dedbd3;
--yes:#3451b5;--on-yes:#fff;--no:#b3261e}
@media (prefers-color-scheme:dark){:root{--bg:#121317;--panel:#1b1d24;--soft:#14151a;--ink:#ececf0;--ink2:#adb0bc;
--line:#3a3d49;--yes:#93aaff;--on-yes:#10173a;--no:#ff9a91}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:44rem;padding:1rem;background:var(--bg);color:var(--ink);
font:1rem/1.5 Inter,system-ui,sans-serif;overflow-wrap:anywhere}
main{padding:1.1rem 1.1rem .4rem;background:var(--panel);border:1px solid var(--line);border-radius:.9rem}
.brand{display:flex;align-items:center;gap:.6rem;margin:.1rem .2rem .9rem;font-weight:640}
.brand rect:nth-child(1){fill:#2563b8}.brand rect:nth-child(2){fill:#b3591f}.brand rect:nth-child(3){fill:#12857c}
h1{font-size:1.35rem;line-height:1.25;letter-spacing:-.01em;margin:.1rem 0 .5rem}
h2{font-size:.9rem;margin:1.3rem 0 .3rem;color:var(--ink2)}
p{margin:.5rem 0}
.note{padding:.75rem;border:1px solid var(--line);border-left:.3rem solid var(--ink2);
border-radius:.6rem;background:var(--soft)}
.box,pre{margin:0;padding:.6rem .75rem;background:var(--soft);border:1px solid var(--line);border-radius:.6rem;
white-space:pre-wrap}
pre{font:.9rem/1.45 "JetBrains Mono",ui-monospace,monospace}
dl{margin:0}dt{margin:.6rem 0 .2rem;font-size:.9rem;font-weight:600}dd{margin:0}
small,.kind{color:var(--ink2);font-weight:400}
label{display:block;margin:1.3rem 0 .3rem;font-size:.9rem;font-weight:600}
textarea{width:100%;min-height:5rem;padding:.6rem;background:var(--panel);color:inherit;font:inherit;
border:1px solid var(--ink2);border-radius:.6rem}
button{display:block;width:100%;min-height:3rem;margin:.75rem 0;font:inherit;font-weight:600;border-radius:.7rem;
border:1px solid;cursor:pointer}
.yes{background:var(--yes);border-color:var(--yes);color:var(--on-yes)}
.no{background:transparent;border-color:currentColor;color:var(--no)}
:focus-visible{outline:2px solid var(--yes);outline-offset:2px}
"""

_MARK: Final = (
    '<svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true"><rect y="1" width="18" height="4" rx="2"/>'
    '<rect x="7" y="7" width="11" height="4" rx="2"/><rect y="13" width="13" height="4" rx="2"/></svg>'
)

_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "X-Frame-Options": "DENY",
}

_BUTTONS: Final = {
    "approve": ("yes", "Approve"),
    "reject": ("no", "Reject"),
    "finish": ("yes", "Finish with what there is"),
    "respond": ("yes", "Answer"),
}
_FIELDS: Final = {
    "action": "A note (with Reject the agent reads it; may be empty)",
    "budget": "A note for the record (may be empty)",
    "input": "Your answer",
}
_DONE: Final = {
    "approve": "Approved",
    "edit": "Approved with changes",
    "reject": "Rejected",
    "respond": "Answered",
}


def visible(text: str, *, keep: str = "\n\t") -> str:
    """Return a text for HTML in which nothing hides: what shows nothing is written out."""
    shown = "".join(c if c in keep or shows(c) else f"\\u{{{ord(c):04x}}}" for c in text)
    return html.escape(shown)


def open_page(shown: Shown, token: str, choices: tuple[str, ...]) -> str:
    """Return the page with the question and what can be decided."""
    approval = shown.link.approval
    note = f'<p class="note" role="alert">{visible(shown.refusal)}</p>' if shown.refusal else ""
    body = f"""{note}{_question(shown)}
<form method="post" autocomplete="off">
<input type="hidden" name="token" value="{html.escape(token)}">
<label for="message">{_FIELDS[approval.type]}</label>
<textarea id="message" name="message" maxlength="16000"></textarea>
{"".join(_button(each) for each in choices)}
</form>
<p><small>This page decides once. {_until(shown)}</small></p>"""
    return _page(f"{_title(approval)}?", body)


def closed_page(shown: Shown) -> str:
    """Return the page about what can be decided no more: a link that was left somewhere tells little."""
    title, text = _ENDS[shown.state]
    approval, run = shown.link.approval, shown.link.run
    made = approval.decision
    if shown.state == "decided" and made is not None:
        title = _DONE[made.type]
        text = "" if shown.done else "It was decided already, and what was decided stands. "
        text += _who(made)
    refusal = f"<p>{visible(shown.refusal)}</p>" if shown.refusal and not made else ""
    said = ""
    if made is not None and made.message:
        said = f'<h2>What was said</h2><div class="box">{visible(made.message)}</div>'
    if approval.action is not None:
        said += f"<h2>The call: {visible(approval.action.name)}</h2>"
    note = f'<p class="note" role="status">{visible(text)}</p>'
    return _page(title, f"{note}{refusal}{said}{_asked_by(approval, run)}")


def busy_page() -> str:
    """Return the page for an address that has asked for too many."""
    text = "Too many of these pages were asked for from your address. Wait a minute, then open it again."
    return _page("Too many requests", f'<p class="note">{text}</p>')


def missing_page() -> str:
    """Return the page for a link that is none."""
    text = "There is no such link. Links are long: make sure that all of it was copied."
    return _page("Not found", f'<p class="note">{text}</p>')


_ENDS: Final[dict[State, tuple[str, str]]] = {
    "open": ("Nothing was decided", "Open the link again to decide."),
    "decided": ("Decided", ""),
    "expired": ("Too late", "The time to decide here is over. Nothing was decided by this link."),
    "cancelled": ("No longer asked", "The run has ended, so there is nothing left to decide."),
    "changed": (
        "The call has changed",
        "The call is not the one that this link was made for. Nothing was decided by it.",
    ),
}


def _question(shown: Shown) -> str:
    approval, run = shown.link.approval, shown.link.run
    call = ""
    if approval.action is not None:
        call = f"<h2>The call: {visible(approval.action.name)}</h2>{_arguments(approval)}"
    return f"""<p>{visible(approval.description)}</p>
{call}
{_asked_by(approval, run)}
<h2>The task of the run</h2>
<div class="box">{visible(run.task)}</div>"""


def _asked_by(approval: Approval, run: Run) -> str:
    return f"""<h2>Asked by</h2>
<p>{visible(approval.agent)} <small>in {visible(run.id)}</small></p>"""


def _arguments(approval: Approval) -> str:
    """Return the arguments in full: of a text its very characters, of anything else its JSON."""
    args: dict[str, Any] = approval.action.args if approval.action else {}
    if not args:
        return "<p>Without arguments.</p>"
    rows = []
    for name, value in args.items():
        kind = "" if isinstance(value, str) else ' <span class="kind">JSON</span>'
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        rows.append(
            f"<dt>{visible(name)}{kind}</dt>"
            f"<dd><pre>{visible(text) or '<small>(empty)</small>'}</pre></dd>"
        )
    return f"<dl>{''.join(rows)}</dl>"


def _button(choice: str) -> str:
    look, text = _BUTTONS[choice]
    return f'<button class="{look}" name="choice" value="{choice}">{text}</button>'


def _title(approval: Approval) -> str:
    if approval.type == "budget":
        return "Spend no more"
    if approval.type == "input":
        return "Can you answer"
    return f"Approve {approval.tool}"


def _who(made: DecisionMade) -> str:
    by = f"By {made.by}"
    if made.by.startswith(LINK_PREFIX):
        by = f"By whoever had the link of {made.by.removeprefix(LINK_PREFIX)}"
    return f"{by}, {_moment(made.at)}."


def _until(shown: Shown) -> str:
    approval, link = shown.link.approval, shown.link
    text = f"It can be used until {_moment(link.expires_at)}."
    if approval.expires_at is not None:
        then = "the call is refused" if approval.on_expiry == "reject" else "the run fails"
        text += f" Where nobody has decided by {_moment(approval.expires_at)}, {then}."
    return html.escape(text)


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _page(title: str, body: str) -> str:
    shown = visible(title)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{shown} · Signalbox</title>
<style>{_STYLE}</style>
</head>
<body>
<header class="brand">{_MARK} Signalbox</header>
<main>
<h1>{shown}</h1>
{body}
</main>
</body>
</html>
"""
