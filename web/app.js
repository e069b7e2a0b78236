// The page: it shows the view of its address, inside the shell.

import { beginClock, door, enter } from "./house.js";
import { place } from "./router.js";
import "./theme.js";
import { html, render } from "./vendor/preact.js";
import { CompareView } from "./views/compare.js";
import { CostsView } from "./views/costs.js";
import { HistoryView } from "./views/history.js";
import { InboxView } from "./views/inbox.js";
import { RunView } from "./views/run.js";
import { SettingsView } from "./views/settings.js";
import { Shell } from "./views/shell.js";
import { SignInView } from "./views/sign_in.js";
import { StartView } from "./views/start.js";
import { Guard, Missing } from "./views/states.js";
import { TraceView } from "./views/trace.js";

const VIEWS = [
    [/^\/$/, () => html`<${StartView} />`],
    [/^\/inbox$/, () => html`<${InboxView} />`],
    [/^\/runs$/, () => html`<${HistoryView} />`],
    [/^\/runs\/([^/]+)$/, (id) => html`<${RunView} key=${id} id=${id} />`],
    [/^\/runs\/([^/]+)\/trace$/, (id) => html`<${TraceView} key=${id} id=${id} />`],
    [/^\/runs\/([^/]+)\/compare$/, (id) => html`<${CompareView} key=${id} id=${id} />`],
    [/^\/costs$/, () => html`<${CostsView} />`],
    [/^\/settings$/, () => html`<${SettingsView} />`],
];

function viewOf(path) {
    for (const [pattern, view] of VIEWS) {
        const found = pattern.exec(path);
        if (found) return view(...found.slice(1));
    }
    return html`<${Missing} />`;
}

function App() {
    if (!door.value.open) return html`<${SignInView} />`;
    const { path } = place.value;
    return html`<${Shell}><${Guard} key=${path} what="This page">${viewOf(path)}</${Guard}></${Shell}>`;
}

// The address changes without a load: what is named from where the page lay is named in full from here on.
const icon = document.querySelector("link[rel=icon]");
icon.setAttribute("href", icon.href);

const home = document.getElementById("app");
home.replaceChildren();
render(html`<${App} />`, home);
enter();
// Who comes back with the back button may be somebody else, or signed out by now: what was shown is asked for anew.
addEventListener("pagehide", (event) => (home.hidden = event.persisted));
addEventListener("pageshow", (event) => event.persisted && location.reload());
beginClock();
