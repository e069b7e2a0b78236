// What a run may be given besides its task: limits, when it asks, who may work, whether an earlier answer will do.

import { named } from "../format.js";
import { team } from "../house.js";
import { html } from "../vendor/preact.js";

const MODES = [
    ["policy", "Where the server's rules say so"],
    ["always", "Before everything that changes something"],
    ["never", "Never, but where the rules insist"],
];

const TIERS = [
    ["", "As the server has it"],
    ["fast", "Fast"],
    ["standard", "Standard"],
    ["deep", "Deep"],
];

/** Above 0, with a point or a comma: a browser's own field for numbers drops the comma, and makes 15 of 1,5. */
const AMOUNT = { inputmode: "decimal", pattern: "(?=.*[1-9])[0-9]+([.,][0-9]+)?", maxlength: 19, title: "A number above 0, as in 2.50" };
const pointed = (text) => text.trim().replace(",", ".");

/** The body that creates a run. */
export function startBody(task, options, files) {
    const body = { task };
    const budget = {};
    if (options.budget.trim()) budget.max_cost_usd = pointed(options.budget);
    if (options.rounds) budget.max_rounds = Number(options.rounds);
    if (options.minutes.trim()) budget.max_seconds = Number((Number(pointed(options.minutes)) * 60).toFixed(3));
    if (options.tier) budget.max_tier = options.tier;
    if (Object.keys(budget).length) body.budget = budget;
    if (options.mode !== "policy") body.approvals = { mode: options.mode };
    if (options.agents?.length) body.agents = options.agents;
    if (options.webhook.trim()) body.webhook = { url: options.webhook.trim() };
    if (options.fresh) body.cache = false;
    if (files.length) body.files = files;
    return body;
}

/** A file's bytes in base64, without the head of a data URL. */
export function fileToBase64(file) {
    return new Promise((resolve, reject) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
        reader.onerror = () => reject(reader.error);
        reader.readAsDataURL(file);
    });
}

export function Options({ options, setOptions }) {
    const set = (change) => setOptions({ ...options, ...change });
    const names = (team.value ?? []).filter((each) => each.routable).map((each) => each.name);
    const chosen = options.agents ?? names;
    const toggle = (name) => {
        const next = chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name];
        set({ agents: next.length === names.length || !next.length ? null : next });
    };
    return html`
        <details class="options" onInvalidCapture=${(event) => (event.currentTarget.open = true)}>
            <summary>Options</summary>
            <div class="options-grid">
                <label class="option">Limit in US dollars
                    <input ...${AMOUNT} placeholder="none" value=${options.budget} onInput=${(event) => set({ budget: event.target.value })} />
                    <span class="hint">At the limit you are asked before more is spent.</span>
                </label>
                <label class="option">Rounds, at most
                    <input type="number" min="1" max="50" placeholder="as the server has it" value=${options.rounds} onInput=${(event) => set({ rounds: event.target.value })} />
                    <span class="hint">How often the supervisor may give out work.</span>
                </label>
                <label class="option">Minutes, at most
                    <input ...${AMOUNT} placeholder="as the server has it" value=${options.minutes} onInput=${(event) => set({ minutes: event.target.value })} />
                    <span class="hint">Then it ends with the best there is. Waiting for you does not count.</span>
                </label>
                <label class="option">Models, at most
                    <select value=${options.tier} onChange=${(event) => set({ tier: event.target.value })}>
                        ${TIERS.map(([value, words]) => html`<option key=${value} value=${value}>${words}</option>`)}
                    </select>
                    <span class="hint">The dearest that the supervisor may give to hard work.</span>
                </label>
                <label class="option">Ask me
                    <select value=${options.mode} onChange=${(event) => set({ mode: event.target.value })}>
                        ${MODES.map(([value, words]) => html`<option key=${value} value=${value}>${words}</option>`)}
                    </select>
                    <span class="hint">Before calls that change something.</span>
                </label>
                <fieldset class="option">
                    <legend>Who may work</legend>
                    <div class="checks">${names.map((name) => html`<label key=${name} class="check-label"><input type="checkbox" checked=${chosen.includes(name)} onChange=${() => toggle(name)} /> ${named(name)}</label>`)}</div>
                </fieldset>
                <label class="option">Report to
                    <input type="url" maxlength="2000" spellcheck=${false} placeholder="nobody" value=${options.webhook} onInput=${(event) => set({ webhook: event.target.value })} />
                    <span class="hint">The https address of a webhook, told when the run needs somebody and when it ends.</span>
                </label>
                <label class="check-label option"><input type="checkbox" checked=${options.fresh} onChange=${(event) => set({ fresh: event.target.checked })} /><span>Work on it anew, even if the same was answered before</span></label>
            </div>
        </details>`;
}
