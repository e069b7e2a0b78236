// Two runs beside each other: a run and its fork. What was asked, what it took, who worked, and what came of it.

import { ask } from "../api.js";
import { count, duration, money, named, shortId } from "../format.js";
import { link, place } from "../router.js";
import { tokensOf } from "../selectors.js";
import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { diffLines, DiffLines, shorten } from "./diff.js";
import { Page } from "./page.js";
import { Empty, Failure, Missing, Skeleton } from "./states.js";
import { Chip } from "./status.js";
import { imagesOf, Markdown } from "./text.js";

const WAYS = { beside: "Beside each other", lines: "Line by line" };

export function CompareView({ id }) {
    const other = place.value.query.get("with") ?? "";
    const [runs, setRuns] = useState(null);
    const [problem, setProblem] = useState(null);
    const [again, setAgain] = useState(0);
    useEffect(() => {
        const control = new AbortController();
        setRuns(null);
        Promise.all([id, other].map((each) => ask(`/v1/runs/${encodeURIComponent(each)}`, { signal: control.signal })))
            .then((both) => (setRuns(both), setProblem(null)))
            .catch((error) => error.name !== "AbortError" && setProblem(error));
        return () => control.abort();
    }, [id, other, again]);
    if (!other || problem?.status === 404) return html`<${Missing} what="pair of runs" />`;
    return html`
        <${Page} title="Compare two runs" busy=${!runs}>
            <header class="page-head">
                <p class="crumb"><a ...${link(`/runs/${other}`)}>Back to the run</a></p>
                <h1>Compare two runs</h1>
            </header>
            ${problem && html`<${Failure} problem=${problem} again=${() => setAgain(again + 1)} />`}
            ${!runs && !problem && html`<${Skeleton} lines=${8} label="Loading the runs" />`}
            ${runs && html`<${Figures} runs=${runs} /><${Answers} runs=${runs} />`}
        </${Page}>`;
}

const lasted = (run) => (run.started_at && run.ended_at ? Date.parse(run.ended_at) - Date.parse(run.started_at) : null);
const agentsOf = (run) => Object.keys(run.usage.by_agent).map(named).join(", ");

const ROWS = [
    ["Status", (run) => html`<${Chip} status=${run.status} />`],
    ["Task", (run) => run.task],
    ["Time", (run) => duration(lasted(run))],
    ["Tokens", (run) => count(tokensOf(run.usage))],
    ["Cost", (run) => money(run.usage.cost_usd, run.usage.cost_known)],
    ["Agents", (run) => agentsOf(run) || "–"],
    ["Sources", (run) => run.result?.citations.length ?? 0],
    ["Files", (run) => run.result?.artifacts.map((each) => each.name).join(", ") || "–"],
];

function Figures({ runs }) {
    return html`
        <div class="table-box scroll-x" tabindex="0" role="region" aria-label="What the runs took">
            <table class="compare-table">
                <thead><tr><td></td>${runs.map((run) => html`<th key=${run.id} scope="col"><a ...${link(`/runs/${run.id}`)}>Run <span class="mono">${shortId(run.id)}</span></a>${run.forked_from && html` <span class="tag">a fork</span>`}</th>`)}</tr></thead>
                <tbody>${ROWS.map(([name, what]) => html`<tr key=${name}><th scope="row">${name}</th>${runs.map((run) => html`<td key=${run.id}>${what(run)}</td>`)}</tr>`)}</tbody>
            </table>
        </div>`;
}

const answerOf = (run) => run.result?.output ?? "";

function Answers({ runs }) {
    const [way, setWay] = useState("beside");
    const [before, after] = runs.map(answerOf);
    return html`
        <section class="compare-answers" aria-labelledby="answers-title">
            <div class="row spread">
                <h2 id="answers-title">${before === after && before ? "The answers are the same" : "Answers"}</h2>
                <div class="segments" role="group" aria-label="How the answers are shown">
                    ${Object.entries(WAYS).map(([each, words]) => html`<button key=${each} type="button" class="segment" aria-pressed=${each === way ? "true" : "false"} onClick=${() => setWay(each)}>${words}</button>`)}
                </div>
            </div>
            ${way === "lines" && html`<${Lines} before=${before} after=${after} />`}
            ${way === "beside" && html`<div class="two">${runs.map((run) => html`<${One} key=${run.id} run=${run} />`)}</div>`}
        </section>`;
}

function Lines({ before, after }) {
    const lines = useMemo(() => shorten(diffLines(before, after)), [before, after]);
    if (before === after) return html`<${Empty} title="No line differs." />`;
    return html`<div class="diff"><${DiffLines} lines=${lines} label="What differs in the answers" /></div>`;
}

function One({ run }) {
    const options = useMemo(() => ({ level: 4, imageOf: imagesOf(run.result?.artifacts ?? []) }), [run]);
    return html`
        <article class="card answer" aria-label=${`The answer of run ${shortId(run.id)}`}>
            <h3>Run <span class="mono">${shortId(run.id)}</span></h3>
            ${answerOf(run) ? html`<${Markdown} text=${answerOf(run)} options=${options} className="md answer-text" />` : html`<p class="quiet">There is no answer.</p>`}
        </article>`;
}
