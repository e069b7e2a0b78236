// Beside the run: one step, one source, one file, one decision, as closely as there is to see.

import { tint } from "../agents.js";
import { at, send } from "../api.js";
import { bytes, count, duration, named } from "../format.js";
import { Icon } from "../icons.js";
import { artifactsOf, callsOf, citationsOf } from "../selectors.js";
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { modelName } from "./agents.js";
import { Copy, hostOf } from "./answer.js";
import { Download, PICTURES, Preview } from "./artifacts.js";
import { Failure } from "./states.js";
import { STEP_WORDS } from "./status.js";
import { Markdown } from "./text.js";
import { ToolRow } from "./tools.js";

const KINDS = { step: StepPart, bar: BarPart, group: GroupPart, source: SourcePart, artifact: ArtifactPart };
const PLAIN = { level: 3 };
const MOST = 60_000;

export function Inspector({ chosen, state, runId, close }) {
    const heading = useRef(null);
    useEffect(() => heading.current?.focus(), [chosen.key]);
    const Part = KINDS[chosen.kind];
    return html`
        <aside class="inspector" aria-label="Details">
            <button type="button" class="icon-button inspector-close" aria-label="Close the details" onClick=${close}><${Icon} name="close" /></button>
            <${Part} chosen=${chosen} state=${state} runId=${runId} heading=${heading} />
        </aside>`;
}

const Head = ({ heading, children }) => html`<h2 ref=${heading} tabindex="-1">${children}</h2>`;
const Fact = ({ name, children }) => html`<div><dt>${name}</dt><dd>${children}</dd></div>`;
const Gone = ({ heading }) => html`<${Head} heading=${heading}>Not there any more</${Head}>`;

function StepPart({ chosen, state, heading }) {
    const step = state.steps[chosen.key];
    if (!step) return html`<${Gone} heading=${heading} />`;
    const calls = callsOf(state, step);
    return html`
        <div style=${tint(step.agent)}>
            <${Head} heading=${heading}>${named(step.agent)}</${Head}>
            <dl class="facts-list">
                <${Fact} name="Step">${step.task || "–"}</${Fact}>
                <${Fact} name="Status">${STEP_WORDS[step.status]}</${Fact}>
                ${step.model && html`<${Fact} name="Model"><span class="mono">${modelName(step.model)}</span>${step.tier ? html` <span class="tag">${step.tier}</span>` : ""}</${Fact}>`}
                ${step.usage && html`<${Fact} name="Tokens">${count(step.usage.input_tokens)} in · ${count(step.usage.output_tokens)} out${step.usage.cached_tokens ? ` · ${count(step.usage.cached_tokens)} cached` : ""}</${Fact}>`}
                ${step.endedAt !== null && html`<${Fact} name="Time">${duration(step.endedAt - step.startedAt)}</${Fact}>`}
                <${Fact} name="Round">${step.round}</${Fact}>
                ${step.reused && html`<${Fact} name="Reused">the work of another run, ${duration(step.reused.age * 1000)} old</${Fact}>`}
            </dl>
            ${step.error && html`<p class="error-text">${step.error.detail}</p>`}
            ${calls.length > 0 && html`<h3>Tools</h3><div class="tools boxed">${calls.map((call) => html`<${ToolRow} key=${call.id} call=${call} />`)}</div>`}
            ${step.output && html`<h3>Result</h3><${Markdown} text=${step.output} options=${PLAIN} /><${Copy} text=${step.output} what="the result" />`}
        </div>`;
}

function BarPart({ chosen, state, heading }) {
    const bar = state.bars.find((each) => each.key === chosen.key);
    if (!bar) return html`<${Gone} heading=${heading} />`;
    const took = html`<${Fact} name="Time">${duration(bar.endedAt - bar.startedAt)}</${Fact}>`;
    if (bar.kind === "validation") {
        const words = { accept: "The results hold", revise: "More work is needed", reject: "The results do not hold" };
        return html`
            <${Head} heading=${heading}>Validator</${Head}>
            <dl class="facts-list"><${Fact} name="Verdict">${words[bar.verdict] ?? bar.verdict}</${Fact}><${Fact} name="Judged by">${bar.by}</${Fact}>${took}</dl>
            ${bar.reasons.length > 0 && html`<h3>Why</h3><ul class="plain-list">${bar.reasons.map((each) => html`<li key=${each}>${each}</li>`)}</ul>`}`;
    }
    if (bar.kind === "answer") return html`<${Head} heading=${heading}>Supervisor</${Head}><dl class="facts-list"><${Fact} name="Step">Writes the answer</${Fact}>${took}</dl>`;
    return html`
        <${Head} heading=${heading}>Supervisor</${Head}>
        <dl class="facts-list"><${Fact} name="Decision">${bar.reason}</${Fact}>${took}</dl>
        ${bar.assignments.length > 0 && html`<h3>Who works</h3><ul class="plain-list">${bar.assignments.map((each, index) => html`<li key=${index} style=${tint(each.agent)}><span class="plan-agent">${named(each.agent)}</span> ${each.task}</li>`)}</ul>`}`;
}

/** Several bars that are drawn as one; only the first heading takes the focus. */
function GroupPart({ chosen, state, heading }) {
    return chosen.parts.map((part, index) => {
        const Part = part.kind === "step" ? StepPart : BarPart;
        if (part.kind === "thinking") return null;
        return html`<div class="group-part" key=${part.key}><${Part} chosen=${{ key: part.key }} state=${state} heading=${index ? null : heading} /></div>`;
    });
}

function SourcePart({ chosen, state, runId, heading }) {
    const source = citationsOf(state).find((each) => each.number === chosen.number);
    const [text, setText] = useState(null);
    const [problem, setProblem] = useState(null);
    if (!source) return html`<${Gone} heading=${heading} />`;
    const read = async () => {
        setProblem(null);
        try {
            const response = await send(`/v1/runs/${runId}/sources/${source.sha256}`, { headers: { accept: "text/plain" } });
            setText(await response.text());
        } catch (error) {
            setProblem(error);
        }
    };
    const web = /^https?:/i.test(source.source);
    return html`
        <${Head} heading=${heading}><span class="cite" aria-hidden="true">${source.number}</span> ${source.title || "Source"}</${Head}>
        <dl class="facts-list">
            <${Fact} name="From">${web ? html`<a href=${source.source} target="_blank" rel="noopener noreferrer">${hostOf(source.source)}</a>` : source.source}</${Fact}>
            ${source.date && html`<${Fact} name="Dated">${source.date}</${Fact}>`}
        </dl>
        <h3>What was used</h3>
        <blockquote class="snippet">${source.snippet}</blockquote>
        ${source.sha256 && text === null && html`<button type="button" class="button" onClick=${read}>Show all that the agent read</button>`}
        ${problem && html`<${Failure} problem=${problem} again=${read} />`}
        ${text !== null && html`<h3>All that the agent read</h3><pre class="source-text" tabindex="0">${text.slice(0, MOST)}${text.length > MOST ? "\n…" : ""}</pre>`}`;
}

function ArtifactPart({ chosen, state, heading }) {
    const artifact = artifactsOf(state).find((each) => each.name === chosen.name);
    if (!artifact) return html`<${Gone} heading=${heading} />`;
    return html`
        <${Head} heading=${heading}>${artifact.name}</${Head}>
        <div class="artifact-large"><${Preview} artifact=${artifact} large=${true} /></div>
        <dl class="facts-list">
            <${Fact} name="Made by">${named(artifact.agent)}</${Fact}>
            <${Fact} name="Size">${bytes(artifact.size)}</${Fact}>
            <${Fact} name="Kind">${artifact.media_type}</${Fact}>
            <${Fact} name="SHA-256"><span class="mono break">${artifact.sha256}</span></${Fact}>
        </dl>
        <div class="row">
            <${Download} artifact=${artifact} words=${true} />
            ${PICTURES.has(artifact.media_type) && html`<a class="button" href=${`${at(artifact.url)}?inline=true`} target="_blank" rel="noopener noreferrer"><${Icon} name="open" /> Open in full</a>`}
        </div>`;
}
