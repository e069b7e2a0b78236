// The rail: what can be begun, what needs somebody, what there was; and the keys that lead there.

import { ago } from "../format.js";
import { minute, reachable, recent, said, waiting } from "../house.js";
import { Icon, Mark } from "../icons.js";
import { KeysHelp, MOD, useKeys } from "../keys.js";
import { go, link, place } from "../router.js";
import { choose, chosen, isDark } from "../theme.js";
import { html, useState } from "../vendor/preact.js";
import { Palette } from "./palette.js";
import { Dot } from "./status.js";

const NAV = [
    { path: "/inbox", name: "Approvals", icon: "inbox" },
    { path: "/runs", name: "History", icon: "history" },
    { path: "/costs", name: "Costs", icon: "coin" },
];

/** The rail and the view beside it. */
export function Shell({ children }) {
    const help = useOpening();
    const finding = useOpening();
    useKeys({
        "mod+k": finding.open,
        n: () => go("/"),
        "g a": () => go("/inbox"),
        "g h": () => go("/runs"),
        "g c": () => go("/costs"),
        "g s": () => go("/settings"),
        "?": help.open,
    });
    const { path } = place.value;
    return html`
        <a class="skip" href="#main">Skip to the content</a>
        <div class="shell">
            <header class="rail">
                <a class="brand" ...${link("/")}><${Mark} /> Signalbox</a>
                <a class="button primary new-run" aria-current=${path === "/" ? "page" : undefined} ...${link("/")}>
                    <${Icon} name="plus" /> <span class="new-run-words">New run</span> <kbd aria-hidden="true">N</kbd>
                </a>
                <button type="button" class="nav-link find" aria-haspopup="dialog" onClick=${finding.open}>
                    <${Icon} name="search" /> <span>Go to…</span> <kbd aria-hidden="true">${MOD} K</kbd>
                </button>
                <nav aria-label="Main">
                    ${NAV.map((each) => html`<${NavLink} key=${each.path} ...${each} here=${path === each.path} />`)}
                </nav>
                <${Recent} path=${path} />
                <div class="rail-foot">
                    <a class="nav-link" aria-current=${path === "/settings" ? "page" : undefined} ...${link("/settings")}>
                        <${Icon} name="sliders" /> <span>Settings</span>
                    </a>
                    <${ThemeButton} />
                </div>
            </header>
            ${!reachable.value && html`<p class="offline" role="status">The server cannot be reached. Trying again…</p>`}
            ${children}
        </div>
        <div class="sr" role="status" aria-live="polite">${said.value}</div>
        ${help.number > 0 && html`<${KeysHelp} key=${help.number} close=${help.close} />`}
        ${finding.number > 0 && html`<${Palette} key=${finding.number} close=${finding.close} showKeys=${help.open} />`}`;
}

let openings = 0;

/** A dialog that can be opened again before the browser has told that it was closed: that closes its own opening only. */
function useOpening() {
    const [number, setNumber] = useState(0);
    return {
        number,
        open: () => setNumber(++openings),
        close: () => setNumber((current) => (current === number ? 0 : current)),
    };
}

function NavLink({ path, name, icon, here }) {
    const count = path === "/inbox" ? waiting.value : 0;
    return html`
        <a class="nav-link" aria-current=${here ? "page" : undefined} ...${link(path)}>
            <${Icon} name=${icon} /> <span>${name}</span>
            ${count > 0 && html`<span class="badge"><span aria-hidden="true">${count}</span><span class="sr">, ${count} waiting</span></span>`}
        </a>`;
}

function Recent({ path }) {
    const runs = recent.value;
    if (!runs) return html`<div class="recent" />`;
    return html`
        <nav class="recent" aria-label="Recent runs">
            <h2>Recent</h2>
            ${runs.length === 0 && html`<p class="quiet">Runs will be listed here.</p>`}
            <ul>
                ${runs.map((run) => {
                    const target = `/runs/${run.id}`;
                    return html`<li key=${run.id}>
                        <a class="recent-link" title=${run.task.slice(0, 300)} aria-current=${path.startsWith(target) ? "page" : undefined} ...${link(target)}>
                            <${Dot} status=${run.status} />
                            <span class="clip">${run.task.slice(0, 80)}</span>
                            <span class="when">${ago(Date.parse(run.created_at), minute.value)}</span>
                        </a>
                    </li>`;
                })}
            </ul>
        </nav>`;
}

function ThemeButton() {
    const [, again] = useState(0);
    const dark = isDark();
    const change = () => {
        choose(dark ? "light" : "dark");
        again((each) => each + 1);
    };
    return html`<button type="button" class="icon-button" aria-label=${dark ? "Use the light theme" : "Use the dark theme"} title=${`Theme: ${chosen()}`} onClick=${change}>
        <${Icon} name=${dark ? "sun" : "moon"} />
    </button>`;
}

