// The event log of a run as a table: everything that is stored, with its JSON.

import { ask, at, eventsOf } from "../api.js";
import { count, duration, named, shortId } from "../format.js";
import { go, link, place } from "../router.js";
import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { Copy } from "./answer.js";
import { Page } from "./page.js";
import { Empty, Failure, Missing, Skeleton } from "./states.js";

const MOST_ROWS = 400;

export function TraceView({ id }) {
    const [run, setRun] = useState(null);
    const [events, setEvents] = useState(null);
    const [problem, setProblem] = useState(null);
    const [again, setAgain] = useState(0);
    const [most, setMost] = useState(MOST_ROWS);
    useEffect(() => {
        const control = new AbortController();
        const options = { signal: control.signal };
        Promise.all([ask(`/v1/runs/${id}`, options), eventsOf(id, { ...options, most: 50_000 })])
            .then(([resource, log]) => (setRun(resource), setEvents(log), setProblem(null)))
            .catch((error) => error.name !== "AbortError" && setProblem(error));
        return () => control.abort();
    }, [id, again]);
    const query = place.value.query;
    const type = query.get("type") ?? "";
    const agent = query.get("agent") ?? "";
    const filter = (name, value) => {
        const next = new URLSearchParams(query);
        if (value) next.set(name, value);
        else next.delete(name);
        go(`/runs/${id}/trace${next.size ? `?${next}` : ""}`, { replace: true });
    };
    const shown = useMemo(
        () => (events ?? []).filter((event) => (!type || event.type.split(".")[0] === type) && (!agent || event.agent === agent)),
        [events, type, agent],
    );
    if (problem?.status === 404) return html`<${Missing} what="run" />`;
    if (problem) return html`<${Page} title="Trace"><h1>Trace</h1><${Failure} problem=${problem} again=${() => setAgain(again + 1)} /></${Page}>`;
    if (!events) return html`<${Page} title="Trace" busy=${true}><h1>Trace</h1><${Skeleton} lines=${10} label="Loading the events" /></${Page}>`;
    const curl = `curl -s '${location.origin}${at(`/v1/runs/${id}/events?limit=1000`)}'`;
    return html`
        <${Page} title=${`Trace of ${shortId(id)}`}>
            <header class="page-head">
                <p class="crumb"><a ...${link(`/runs/${id}`)}>Back to the run</a></p>
                <h1>Trace</h1>
                <p class="lead clip-2">${run.task}</p>
            </header>
            <div class="filters" role="group" aria-label="Filter the events">
                <label>Type <select value=${type} onChange=${(event) => filter("type", event.target.value)}><option value="">all</option>${optionsOf(events, (each) => each.type.split(".")[0])}</select></label>
                <label>Agent <select value=${agent} onChange=${(event) => filter("agent", event.target.value)}><option value="">all</option>${optionsOf(events, (each) => each.agent)}</select></label>
                <div class="row">
                    <${Copy} text=${curl} what="as curl" label="Copy as curl" />
                    ${run.trace_url && html`<a class="button small" href=${run.trace_url} target="_blank" rel="noopener noreferrer">Open the trace ↗</a>`}
                    <a class="button small" href=${at(`/v1/runs/${id}/export`)} download=${`${id}.json`}>Export all of it</a>
                    <button type="button" class="button small" onClick=${() => setAgain(again + 1)}>Look again</button>
                </div>
            </div>
            ${shown.length === 0 && html`<${Empty} title="No event fits."><button type="button" class="button" onClick=${() => go(`/runs/${id}/trace`, { replace: true })}>Show all</button></${Empty}>`}
            ${shown.length > 0 && html`<${Table} events=${shown.slice(0, most)} begin=${Date.parse(events[0].ts)} />`}
            ${shown.length > most && html`<p class="more"><button type="button" class="button" onClick=${() => setMost(most + MOST_ROWS)}>Show more of ${shown.length}</button></p>`}
        </${Page}>`;
}

function optionsOf(events, what) {
    return [...new Set(events.map(what).filter(Boolean))].sort().map((each) => html`<option key=${each} value=${each}>${each}</option>`);
}

function Table({ events, begin }) {
    return html`
        <div class="table-box">
            <table class="trace-table">
                <thead><tr><th scope="col" class="number">#</th><th scope="col" class="number">After</th><th scope="col">Event</th><th scope="col">Agent</th><th scope="col">What</th></tr></thead>
                <tbody>${events.map((event) => html`<${Row} key=${event.seq} event=${event} begin=${begin} />`)}</tbody>
            </table>
        </div>`;
}

function Row({ event, begin }) {
    const [open, setOpen] = useState(false);
    return html`
        <tr>
            <td class="number">${event.seq}</td>
            <td class="number"><time datetime=${event.ts}>${duration(Date.parse(event.ts) - begin)}</time></td>
            <td class="mono">${event.type}</td>
            <td>${event.agent ? named(event.agent) : ""}</td>
            <td class="what-cell">
                <details onToggle=${(toggled) => setOpen(toggled.target.open)}>
                    <summary><span class="clip">${lineOf(event)}</span></summary>
                    ${open && html`<pre tabindex="0">${JSON.stringify(event, null, 2)}</pre><${Copy} text=${JSON.stringify(event)} what="the event" label="Copy JSON" />`}
                </details>
            </td>
        </tr>`;
}

/** One line that says what an event is about. */
function lineOf({ type, data }) {
    const told = {
        "run.created": () => data.task,
        "run.resumed": () => `attempt ${data.attempt}, after ${data.cause}`,
        "supervisor.decision": () => data.reason,
        "agent.started": () => `${data.model} · ${data.task}`,
        "agent.completed": () => `${count((data.usage?.input_tokens ?? 0) + (data.usage?.output_tokens ?? 0))} tokens · ${data.output}`,
        "agent.failed": () => data.detail,
        "agent.retrying": () => data.reason,
        "message.completed": () => data.text || `(${data.finish_reason})`,
        "tool.started": () => data.tool,
        "tool.completed": () => `${data.tool} · ${data.duration_ms ?? "–"} ms · ${data.summary}`,
        "tool.failed": () => `${data.tool} · ${data.detail}`,
        "artifact.created": () => data.artifact.name,
        "usage.updated": () => `${count(data.usage.input_tokens + data.usage.output_tokens)} tokens, $${data.usage.cost_usd ?? "?"}`,
        "validation.completed": () => data.verdict,
    };
    try {
        const line = Object.hasOwn(told, type) ? told[type]() : (data.approval?.tool ?? data.detail ?? data.run?.status ?? "");
        return String(line || "–").slice(0, 240);
    } catch {
        return "–"; // of another version perhaps; its JSON is below
    }
}
