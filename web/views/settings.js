// What this browser and this server are set to.

import { ask, at } from "../api.js";
import { info, leave, toolsByName } from "../house.js";
import { lettersOn, setLetters } from "../keys.js";
import { choose, chosen, THEMES } from "../theme.js";
import { html, useEffect, useState } from "../vendor/preact.js";
import { Page } from "./page.js";
import { Failure, Skeleton } from "./states.js";

const THEME_WORDS = { auto: "As the system", light: "Light", dark: "Dark" };
const GATES = { auto: "runs at once", ask: "asks you", deny: "never runs", rules: "depends on the call" };
const EFFECTS = { none: "reads", workspace: "works in the run's folder", external: "acts outside of the run" };

export function SettingsView() {
    return html`
        <${Page} title="Settings">
            <header class="page-head"><h1>Settings</h1></header>
            <${Appearance} />
            <${Access} />
            <${Models} />
            <${Tools} />
            <${About} />
        </${Page}>`;
}

function Appearance() {
    const [theme, setTheme] = useState(chosen());
    const pick = (each) => {
        choose(each);
        setTheme(each);
    };
    return html`
        <section class="card setting" aria-labelledby="look-title">
            <h2 id="look-title">This browser</h2>
            <fieldset class="segments-field">
                <legend>Theme</legend>
                <div class="segments">${THEMES.map((each) => html`<label key=${each} class="segment"><input type="radio" name="theme" class="sr" checked=${theme === each} onChange=${() => pick(each)} />${THEME_WORDS[each]}</label>`)}</div>
            </fieldset>
            <label class="check-label"><input type="checkbox" checked=${lettersOn.value} onChange=${(event) => setLetters(event.target.checked)} /><span>Single letters are shortcuts (press <kbd>?</kbd> for the list)</span></label>
            <${Notifications} />
        </section>`;
}

function Notifications() {
    const can = "Notification" in window;
    const [state, setState] = useState(can ? Notification.permission : "denied");
    if (!can || state === "denied") return html`<p class="quiet">Notifications are blocked by this browser.</p>`;
    if (state === "granted") return html`<p class="quiet">This browser tells you when something needs you.</p>`;
    return html`<button type="button" class="button" onClick=${async () => setState(await Notification.requestPermission())}>Tell me when something needs me</button>`;
}

function Access() {
    const { data } = useAnswer(() => ask("/session", { quiet: true }));
    const [problem, setProblem] = useState(null);
    if (!data?.signed_in) return null;
    return html`
        <section class="card setting" aria-labelledby="access-title">
            <h2 id="access-title">Access</h2>
            <p>This browser is signed in with the key <code>${data.caller?.id}</code> (${data.caller?.scopes.join(", ")}). The key itself is not kept here: a cookie that no script can read stands for it.</p>
            <button type="button" class="button" onClick=${() => leave().catch(setProblem)}>Sign out</button>
            ${problem && html`<${Failure} problem=${{ ...problem, title: "You are still signed in", detail: problem.detail }} />`}
        </section>`;
}

/** Ask once; `undefined` while it comes, a problem where it cannot be had. */
function useAnswer(ask_) {
    const [answer, setAnswer] = useState({});
    useEffect(() => {
        ask_().then((data) => setAnswer({ data })).catch((problem) => setAnswer({ problem }));
    }, []);
    return answer;
}

function Models() {
    const { data, problem } = useAnswer(() => ask("/v1/models").then((page) => page.data));
    return html`
        <section class="card setting" aria-labelledby="models-title">
            <h2 id="models-title">Models</h2>
            <p class="quiet">Which model does the work of which tier, as the server is configured (<code>SIGNALBOX_MODEL_…</code>). Prices are US dollars for a million tokens.</p>
            ${problem && html`<${Failure} problem=${problem} />`}
            ${!data && !problem && html`<${Skeleton} lines=${3} label="Loading the models" />`}
            ${data &&
            html`<div class="scroll-x" tabindex="0" role="region" aria-label="Table of models"><table class="models-table">
                <thead><tr><th scope="col">Tier</th><th scope="col">Model</th><th scope="col">If it fails</th><th scope="col" class="number">In</th><th scope="col" class="number">Out</th><th scope="col">Who</th></tr></thead>
                <tbody>${data.map((row) => html`<tr key=${row.tier}><th scope="row">${row.tier}</th><td class="mono">${row.model}</td><td class="mono">${row.fallbacks.map((each) => each.model).join(", ") || "–"}</td><td class="number">${row.price?.input_per_mtok ?? "unknown"}</td><td class="number">${row.price?.output_per_mtok ?? "unknown"}</td><td>${row.agents.join(", ")}</td></tr>`)}</tbody>
            </table></div>`}
        </section>`;
}

function Tools() {
    const { data, problem } = useAnswer(() => toolsByName().then((tools) => [...tools.values()]));
    return html`
        <section class="card setting" aria-labelledby="tools-title">
            <h2 id="tools-title">Tools and when they ask</h2>
            <p class="quiet">The rules are those of <code>SIGNALBOX_GATES</code>, then each tool's own. A run may ask for more.</p>
            ${problem && html`<${Failure} problem=${problem} />`}
            ${!data && !problem && html`<${Skeleton} lines=${5} label="Loading the tools" />`}
            ${data &&
            html`<div class="scroll-x" tabindex="0" role="region" aria-label="Table of tools"><table class="tools-table">
                <thead><tr><th scope="col">Tool</th><th scope="col">Effect</th><th scope="col">When called</th><th scope="col">About</th></tr></thead>
                <tbody>${data.map((tool) => html`<tr key=${tool.name}><th scope="row" class="mono">${tool.name}</th><td>${EFFECTS[tool.effect] ?? tool.effect}</td><td><span class=${`gate is-${tool.gate}`}>${tool.off_reason ? "off" : GATES[tool.gate]}</span></td><td>${tool.off_reason ?? tool.description}</td></tr>`)}</tbody>
            </table></div>`}
        </section>`;
}

function About() {
    const about = info.value;
    return html`
        <section class="card setting" aria-labelledby="about-title">
            <h2 id="about-title">About</h2>
            ${!about && html`<${Skeleton} lines=${3} label="Loading" />`}
            ${about &&
            html`<dl class="facts-list">
                <div><dt>Signalbox</dt><dd>${about.version}</dd></div>
                <div><dt>Engine</dt><dd>${about.engine === "offline" ? "offline: no language model is configured" : "language models"}</dd></div>
                <div><dt>Graph</dt><dd class="mono">${about.graph_version}</dd></div>
                <div><dt>Environment</dt><dd>${about.environment}</dd></div>
            </dl>`}
            <p class="row"><a class="button" href=${at("/docs")}>The interface (OpenAPI)</a> <a class="button" href=${at("/health/ready")}>Health</a></p>
            <p class="quiet">This page is made with Preact, htm, marked, DOMPurify, Inter and JetBrains Mono; their licences come with it.</p>
        </section>`;
}
