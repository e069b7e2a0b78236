// The answer, with numbered sources that open beside it.

import { shortId } from "../format.js";
import { Icon } from "../icons.js";
import { answerOf, artifactsOf, citationsOf, isOver } from "../selectors.js";
import { html, useMemo, useState } from "../vendor/preact.js";
import { GrowingText, imagesOf, Markdown } from "./text.js";

export function Answer({ state, choose }) {
    const text = answerOf(state);
    const citations = citationsOf(state);
    const artifacts = artifactsOf(state);
    const options = useMemo(
        () => ({ level: 3, citations: new Set(citations.map((each) => each.number)), imageOf: imagesOf(artifacts) }),
        [state.run, artifacts.length],
    );
    if (!text) return null;
    const over = isOver(state);
    const open = (event) => {
        const button = event.target.closest("[data-cite]");
        if (button) choose({ kind: "source", key: `source:${button.dataset.cite}`, number: Number(button.dataset.cite) });
    };
    return html`
        <section class="card answer" aria-labelledby="answer-title" data-over=${over ? "true" : "false"}>
            <header class="answer-head">
                <h2 id="answer-title">${over ? "Answer" : "Answer, as it is written"}</h2>
                ${over && html`<div class="row"><${Copy} text=${text} what="the answer" /><${Save} state=${state} text=${text} /></div>`}
            </header>
            <div onClick=${open}>
                ${over
                    ? html`<${Markdown} text=${text} options=${options} className="md answer-text" />`
                    : html`<${GrowingText} text=${text} done=${false} options=${options} className="md answer-text" />`}
            </div>
            ${state.run?.result?.structured != null && html`<${Structured} value=${state.run.result.structured} />`}
            ${citations.length > 0 && html`<${Sources} citations=${citations} choose=${choose} />`}
        </section>`;
}

function Sources({ citations, choose }) {
    return html`
        <div class="sources">
            <h3>Sources</h3>
            <ol>
                ${citations.map(
                    (each) => html`
                        <li key=${each.number}>
                            <button type="button" class="source-row" onClick=${() => choose({ kind: "source", key: `source:${each.number}`, number: each.number })}>
                                <span class="cite" aria-hidden="true">${each.number}</span>
                                <span class="clip">${each.title || each.source}</span>
                                <span class="quiet clip">${hostOf(each.source)}</span>
                            </button>
                        </li>`,
                )}
            </ol>
        </div>`;
}

export function hostOf(source) {
    try {
        return new URL(source).host;
    } catch {
        return source;
    }
}

const Structured = ({ value }) => html`
    <details class="structured"><summary>The answer as data (JSON)</summary><pre tabindex="0">${JSON.stringify(value, null, 2)}</pre></details>`;

/** A button that copies a text and says that it has. */
export function Copy({ text, what, label = "Copy" }) {
    const [done, setDone] = useState(false);
    const copy = async () => {
        try {
            await navigator.clipboard.writeText(text);
        } catch {
            copyByHand(text);
        }
        setDone(true);
        setTimeout(() => setDone(false), 1600);
    };
    return html`<button type="button" class="button small" aria-label=${`${label} ${what}`} onClick=${copy}>
        <${Icon} name=${done ? "check" : "copy"} /> ${done ? "Copied" : label}
    </button>`;
}

function Save({ state, text }) {
    const save = () => saveAnswer({ id: state.run?.id ?? "", task: state.task, text, citations: citationsOf(state) });
    return html`<button type="button" class="button small" aria-label="Save the answer as a file" onClick=${save}><${Icon} name="download" /> Save</button>`;
}

/** Keep an answer as a file of Markdown, with its task above and its sources below. */
export function saveAnswer({ id, task, text, citations }) {
    const sources = citations.map((each) => `${each.number}. ${each.title || each.source} – ${each.source}`);
    const parts = [`# ${task.trim().split("\n")[0].slice(0, 200)}`, text.trim(), ...(sources.length ? ["## Sources", sources.join("\n")] : [])];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${parts.join("\n\n")}\n`], { type: "text/markdown" }));
    link.download = `answer-${shortId(id)}.md`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Pages that are not served over TLS may not use the clipboard's interface. */
function copyByHand(text) {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
}
