// The head of a run: what was asked, how it stands, what it has taken, and what can be done about it.

import { post } from "../api.js";
import { draft, keepDraft } from "../drafts.js";
import { nameOf } from "../exact.js";
import { count, duration, limit as limitOf, money, shortId } from "../format.js";
import { now, refreshSoon } from "../house.js";
import { Icon } from "../icons.js";
import { go, link } from "../router.js";
import { isOver, tokensOf } from "../selectors.js";
import { html, useRef, useState } from "../vendor/preact.js";
import { Fork } from "./fork.js";
import { Failure } from "./states.js";
import { Chip } from "./status.js";
import { Sure } from "./sure.js";
import { Thread } from "./thread.js";

const LONG = 180;

export function RunHeader({ state, resource, following }) {
    const over = isOver(state);
    const usage = state.usage ?? resource.usage;
    return html`
        <header class="run-head">
            <p class="crumb">
                <span>Run <span class="mono" title=${resource.id}>${shortId(resource.id)}</span></span>
                <${Thread} threadId=${resource.thread_id} runId=${resource.id} />
                ${resource.forked_from && html`<span>forked from <a ...${link(`/runs/${resource.forked_from.run_id}`)}>run <span class="mono">${shortId(resource.forked_from.run_id)}</span></a> · <a ...${link(`/runs/${resource.forked_from.run_id}/compare?with=${resource.id}`)}>Compare the two</a></span>`}
                ${resource.engine === "offline" && html`<span class="tag" title="No language model is configured: a built-in planner does the work">offline planner</span>`}
                ${resource.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}
            </p>
            <${Title} task=${state.task || resource.task} />
            <div class="facts-row">
                <${Chip} status=${state.status} />
                <dl class="facts">
                    <div><dt>Elapsed</dt><dd><${Elapsed} state=${state} over=${over} /></dd></div>
                    <div><dt>Tokens</dt><dd>${count(tokensOf(usage))}</dd></div>
                    <${Cost} usage=${usage} budget=${state.budget ?? resource.budget} />
                </dl>
                <div class="row actions">
                    ${!over && html`<${Notify} />`}
                    ${over && html`<button type="button" class="button" title="Begin a new run with this task, which you can change first" onClick=${() => again(state.task || resource.task)}><${Icon} name="retry" /> Run again</button>`}
                    <a class="button" title="Everything that happened, event by event" ...${link(`/runs/${resource.id}/trace`)}><${Icon} name="list" /> Trace</a>
                    ${state.startedAt !== null && html`<${Fork} runId=${resource.id} task=${state.task || resource.task} />`}
                    ${!over && html`<${Stop} runId=${resource.id} />`}
                </div>
            </div>
        </header>`;
}

/** Put a task into the field of a new run; what was begun there is kept beside it. */
export function again(task) {
    const begun = draft("start");
    if (begun.trim() && begun !== task) keepDraft("start-before", begun);
    keepDraft("start", task);
    go("/");
}

/** Ask the browser, on a click and never before, to be told when something needs a person. */
function Notify() {
    const [state, setState] = useState("Notification" in window ? Notification.permission : "denied");
    const [asked, setAsked] = useState(false);
    const ask = async () => {
        setState(await Notification.requestPermission());
        setAsked(true);
    };
    if (asked && state !== "default") return html`<span class="quiet notify" role="status">${state === "granted" ? "You will be notified." : "Your browser blocks notifications."}</span>`;
    if (state !== "default") return null;
    return html`<button type="button" class="button notify" title="A notification of your browser, when this or another run needs you" onClick=${ask}><${Icon} name="bell" /> Notify me</button>`;
}

function Title({ task }) {
    const [whole, setWhole] = useState(false);
    const first = task.trim();
    if (first.length <= LONG) return html`<h1 class="task">${nameOf(first || task, LONG)}</h1>`;
    const cut = first.lastIndexOf(" ", LONG);
    return html`
        <h1 class="task">${nameOf(first, cut > LONG / 2 ? cut : LONG)}…</h1>
        <button type="button" class="link-button" aria-expanded=${whole ? "true" : "false"} onClick=${() => setWhole(!whole)}>
            ${whole ? "Show less" : "Show the whole task"}
        </button>
        ${whole && html`<div class="whole-task" tabindex="0" role="region" aria-label="The whole task">${task}</div>`}`;
}

function Elapsed({ state, over }) {
    if (state.startedAt === null) return html`<span>–</span>`;
    const end = over ? state.endedAt : Math.max(now.value, state.lastAt);
    return html`<span>${duration(end - state.startedAt)}</span>`;
}

function Cost({ usage, budget }) {
    const limit = budget?.max_cost_usd ?? null;
    const spent = Number(usage.cost_usd ?? 0);
    const words = usage.cost_known === false ? "unknown" : money(usage.cost_usd);
    return html`
        <div class="cost">
            <dt>${limit === null ? "Cost" : `Cost (limit ${limitOf(limit)})`}</dt>
            <dd title=${usage.cost_known === false ? "The price of a model is not known to this server, or what a stopped call has used" : undefined}>
                ${words}
                ${limit !== null && usage.cost_known !== false &&
                html`<meter min="0" max=${limit} value=${Math.min(spent, limit)} aria-label=${`Cost: ${words} of ${money(limit)}`}>${words}</meter>`}
            </dd>
        </div>`;
}

function Stop({ runId }) {
    const [sure, setSure] = useState(false);
    const button = useRef(null);
    const [asked, setAsked] = useState(false);
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState(null);
    const stop = async () => {
        setBusy(true);
        setProblem(null);
        try {
            await post(`/v1/runs/${runId}/cancel`, {});
            setAsked(true);
            refreshSoon();
        } catch (error) {
            setProblem(error);
        }
        setBusy(false);
        setSure(false);
    };
    const keep = () => {
        setSure(false);
        requestAnimationFrame(() => button.current?.focus());
    };
    if (problem) return html`<${Failure} problem=${problem} again=${stop} />`;
    if (asked) return html`<span class="button danger" role="status">Stopping…</span>`;
    if (!sure) {
        return html`<button type="button" class="button danger" ref=${button} onClick=${() => setSure(true)}><${Icon} name="stop" /> Stop</button>`;
    }
    return html`<${Sure} question="Stop this run?" yes="Stop the run" no="Keep running" act=${stop} keep=${keep} busy=${busy} />`;
}
