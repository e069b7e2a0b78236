// The files of a run, each with a picture of what is in it.

import { at, send } from "../api.js";
import { baseName, bytes, named, plural } from "../format.js";
import { Icon } from "../icons.js";
import { artifactsOf } from "../selectors.js";
import { html, useEffect, useState } from "../vendor/preact.js";

export const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"]);
const TEXTS = /^(?:text\/|application\/(?:json|xml|x-python|javascript|toml|yaml))/;
const HEAD_BYTES = 16_000;

export function Artifacts({ state, choose }) {
    const artifacts = artifactsOf(state);
    if (!artifacts.length) return null;
    return html`
        <section class="artifacts" aria-labelledby="artifacts-title">
            <h2 id="artifacts-title">${plural(artifacts.length, "file")}</h2>
            <ul>${artifacts.map((each) => html`<li key=${each.name + each.sha256}><${ArtifactCard} artifact=${each} choose=${choose} /></li>`)}</ul>
        </section>`;
}

function ArtifactCard({ artifact, choose }) {
    const name = baseName(artifact.name);
    return html`
        <div class="card artifact">
            <button type="button" class="artifact-open" aria-label=${`Look at ${artifact.name}`}
                onClick=${() => choose({ kind: "artifact", key: `artifact:${artifact.name}`, name: artifact.name })}>
                <span class="thumb"><${Preview} artifact=${artifact} /></span>
                <span class="artifact-name clip" title=${artifact.name}>${name}</span>
                <span class="quiet clip">${named(artifact.agent)} · ${bytes(artifact.size)}</span>
            </button>
            <${Download} artifact=${artifact} />
        </div>`;
}

export const Download = ({ artifact, words = false }) => html`
    <a class=${words ? "button" : "icon-button artifact-download"} href=${at(artifact.url)} download=${baseName(artifact.name)} aria-label=${`Download ${artifact.name}`} title="Download">
        <${Icon} name="download" />${words ? " Download" : ""}
    </a>`;

/** What is in a file: the picture, the head of the table, the first lines. `large` beside the run. */
export function Preview({ artifact, large = false }) {
    const type = artifact.media_type;
    if (PICTURES.has(type)) {
        return html`<img src=${`${at(artifact.url)}?inline=true`} alt=${`${artifact.name}, made by ${named(artifact.agent)}`} loading="lazy" decoding="async" />`;
    }
    if (type === "text/csv" || type === "text/tab-separated-values") {
        return html`<${TableHead} artifact=${artifact} large=${large} separator=${type === "text/csv" ? "," : "\t"} />`;
    }
    if (TEXTS.test(type)) return html`<${TextHead} artifact=${artifact} large=${large} />`;
    return html`<span class="thumb-icon"><${Icon} name="file" size=${28} /><span class="quiet">${type}</span></span>`;
}

/** The beginning of a file as text: null while it comes, "" where it cannot be had. */
function useHead(artifact) {
    const [head, setHead] = useState(null);
    useEffect(() => {
        const control = new AbortController();
        readHead(artifact.url, control)
            .then(setHead)
            .catch((problem) => problem.name !== "AbortError" && setHead({ text: "", cut: false }));
        return () => control.abort();
    }, [artifact.url, artifact.sha256]);
    return head;
}

async function readHead(url, control) {
    const response = await send(url, { headers: { accept: "*/*" }, signal: control.signal });
    const reader = response.body.getReader();
    const pieces = [];
    let had = 0;
    for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        pieces.push(value);
        had += value.length;
        if (had >= HEAD_BYTES) {
            await reader.cancel();
            break;
        }
    }
    const text = new TextDecoder().decode(await new Blob(pieces).arrayBuffer());
    return { text: text.slice(0, HEAD_BYTES), cut: had >= HEAD_BYTES };
}

function TableHead({ artifact, large, separator }) {
    const head = useHead(artifact);
    if (!head) return html`<span class="quiet">…</span>`;
    const rows = parseTable(head.text, separator).slice(0, large ? 40 : 5);
    const width = large ? 20 : 4;
    if (!rows.length) return html`<span class="quiet">empty</span>`;
    const [names, ...rest] = rows;
    const table = html`
        <table class="table-head">
            <thead><tr>${names.slice(0, width).map((cell, index) => html`<th key=${index} scope="col">${cell}</th>`)}</tr></thead>
            <tbody>${rest.map((row, number) => html`<tr key=${number}>${row.slice(0, width).map((cell, index) => html`<td key=${index}>${cell}</td>`)}</tr>`)}</tbody>
        </table>`;
    return large ? html`<div class="scroll-x" tabindex="0" role="region" aria-label=${`The first rows of ${artifact.name}`}>${table}</div>` : table;
}

function TextHead({ artifact, large }) {
    const head = useHead(artifact);
    if (!head) return html`<span class="quiet">…</span>`;
    const text = large ? head.text : head.text.split("\n").slice(0, 9).join("\n");
    return html`<pre class="text-head" tabindex=${large ? 0 : undefined}>${text || "empty"}${large && head.cut ? "\n…" : ""}</pre>`;
}

/** Rows of a table whose cells may be quoted. */
export function parseTable(text, separator) {
    const rows = [];
    let row = [];
    let cell = "";
    let quoted = false;
    for (let index = 0; index < text.length; index += 1) {
        const character = text[index];
        if (quoted) {
            if (character !== '"') cell += character;
            else if (text[index + 1] === '"') (cell += '"'), (index += 1);
            else quoted = false;
        } else if (character === '"' && cell === "") quoted = true;
        else if (character === separator) row.push(cell), (cell = "");
        else if (character === "\n") rows.push([...row, cell.replace(/\r$/, "")]), (row = []), (cell = "");
        else cell += character;
    }
    if (cell || row.length) rows.push([...row, cell]);
    return rows;
}
