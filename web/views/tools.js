// A tool call as a row: its name, what came of it, how long it took; its arguments and its answer folded in.

import { millis } from "../format.js";
import { now } from "../house.js";
import { Icon } from "../icons.js";
import { html } from "../vendor/preact.js";

export function ToolRow({ call }) {
    const line = call.summary ? firstLine(call.summary) : call.status === "running" ? "…" : "";
    return html`
        <details class=${`tool is-${call.status}`}>
            <summary>
                <${Icon} name="tool" size=${14} />
                <span class="tool-name">${call.tool}</span>
                <span class="tool-line clip">${call.status === "failed" && html`<span class="sr">failed: </span>`}${line}</span>
                <span class="when">${call.status === "running" ? html`<${Running} since=${call.startedAt} />` : millis(call.ms ?? (call.endedAt ? call.endedAt - call.startedAt : null))}</span>
            </summary>
            <div class="tool-body">
                <${Args} args=${call.args} />
                ${call.summary && html`<p class="tool-label">${call.status === "failed" ? "What went wrong" : "What it answered"}</p><pre tabindex="0">${call.summary}</pre>`}
            </div>
        </details>`;
}

const SOON_MS = 2000;

/** That a call runs; of one that takes long for how long by now, so that it does not look as if it hung. */
function Running({ since }) {
    const took = now.value - since;
    return html`<span>running${took > SOON_MS ? `, ${Math.floor(took / 1000)} s` : ""}</span>`;
}

/** Arguments as they are: texts as texts, anything else as JSON. */
export function Args({ args }) {
    const entries = Object.entries(args ?? {});
    if (!entries.length) return html`<p class="tool-label">No arguments</p>`;
    return entries.map(
        ([name, value]) => html`
            <p class="tool-label" key=${`${name}:label`}><code>${name}</code></p>
            <pre tabindex="0" key=${name}>${typeof value === "string" ? value : JSON.stringify(value, null, 2)}</pre>`,
    );
}

function firstLine(text) {
    const line = text.split("\n").find((each) => each.trim() && !/^<\/?\w+>$/.test(each.trim())) ?? text;
    return line.length > 160 ? `${line.slice(0, 160)}…` : line;
}
