// The runs there were, newest first; what is looked for stands in the address.

import { tint } from "../agents.js";
import { ask } from "../api.js";
import { nameOf } from "../exact.js";
import { dayAndTime, duration, money, named, plural, since } from "../format.js";
import { minute, now, recent, refreshSoon } from "../house.js";
import { go, link, place } from "../router.js";
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { Page } from "./page.js";
import { RowMenu } from "./row_menu.js";
import { Empty, Failure, Skeleton } from "./states.js";
import { Chip, WORDS } from "./status.js";

const PAGE = 50;
const PAGE_LOOKED = 100;
/** How many runs are looked through before somebody says to go on. */
const LOOKED = 1000;
const COSTS = [["", "any"], ["0.01", "$0.01 and more"], ["0.1", "$0.10 and more"], ["1", "$1 and more"], ["unknown", "unknown"]];
const DAYS = [["", "any time"], ["1", "the last day"], ["7", "the last 7 days"], ["30", "the last 30 days"]];

export function HistoryView() {
    const query = place.value.query;
    const status = oneOf(Object.keys(WORDS), query.get("status"));
    const tag = query.get("tag") ?? "";
    const days = oneOf(DAYS.map(([value]) => value), query.get("days"));
    const words = query.get("q") ?? "";
    const cost = oneOf(COSTS.map(([value]) => value), query.get("cost"));
    /** The server has no list by words or cost: its lists are looked through. */
    const sifting = Boolean(words.trim() || cost);
    const [runs, setRuns] = useState(null);
    const [cursor, setCursor] = useState(null);
    const [problem, setProblem] = useState(null);
    const [again, setAgain] = useState(0);
    const [most, setMost] = useState(PAGE);
    const [reach, setReach] = useState(LOOKED);
    /** Ends what is asked for the list that is shown, when another one is. */
    const current = useRef(null);

    const load = async (after, signal) => {
        const asked = new URLSearchParams({ limit: String(sifting ? PAGE_LOOKED : PAGE) });
        if (status) asked.set("status", status);
        if (tag) asked.set("tag", tag);
        if (days) asked.set("created_after", new Date(Date.now() - Number(days) * 86_400_000).toISOString());
        if (after) asked.set("cursor", after);
        try {
            const page = await ask(`/v1/runs?${asked}`, { signal });
            setRuns((before) => (after ? joined(before ?? [], page.data) : page.data));
            setCursor(page.has_more ? page.next_cursor : null);
            setProblem(null);
        } catch (error) {
            if (error.name !== "AbortError") setProblem(error);
        }
    };
    useEffect(() => {
        const control = new AbortController();
        current.current = control;
        setRuns(null);
        setMost(PAGE);
        setReach(LOOKED);
        load(null, control.signal);
        return () => control.abort();
    }, [status, tag, days, again]);

    const filter = (name, value) => {
        const next = new URLSearchParams(query);
        if (value) next.set(name, value);
        else next.delete(name);
        go(`/runs${next.size ? `?${next}` : ""}`, { replace: true });
    };
    const shown = useMemo(() => (runs ?? []).filter((run) => fitsCost(run, cost)).filter(fitsWords(words)), [runs, words, cost]);
    const looking = Boolean(sifting && cursor && !problem && shown.length < most && runs.length < reach);
    useEffect(() => {
        if (!looking) return undefined;
        const control = new AbortController();
        load(cursor, control.signal);
        return () => control.abort();
    }, [looking, cursor]);
    const removed = (id) => {
        setRuns((before) => before?.filter((run) => run.id !== id) ?? null);
        refreshSoon();
    };
    const older = () => {
        setMost(most + PAGE);
        if (sifting) setReach(Math.max(reach, runs.length + LOOKED));
        else if (shown.length <= most) load(cursor, current.current.signal);
    };
    return html`
        <${Page} title="History" busy=${!runs}>
            <header class="page-head"><h1>History</h1></header>
            <div class="filters" role="search" aria-label="Filter the runs">
                <label>Search <input type="search" placeholder="words of the task, id" value=${words} onInput=${(event) => filter("q", event.target.value)} /></label>
                <label>Status <select value=${status} onChange=${(event) => filter("status", event.target.value)}>
                    <option value="">all</option>${Object.entries(WORDS).map(([value, name]) => html`<option key=${value} value=${value}>${name}</option>`)}
                </select></label>
                <label>When <select value=${days} onChange=${(event) => filter("days", event.target.value)}>${DAYS.map(([value, name]) => html`<option key=${value} value=${value}>${name}</option>`)}</select></label>
                <label>Cost <select value=${cost} onChange=${(event) => filter("cost", event.target.value)}>${COSTS.map(([value, name]) => html`<option key=${value} value=${value}>${name}</option>`)}</select></label>
                <label>Tag <input class="short" maxlength="64" value=${tag} onChange=${(event) => filter("tag", event.target.value.trim())} /></label>
            </div>
            ${problem && html`<${Failure} problem=${problem} again=${() => setAgain(again + 1)} />`}
            ${!runs && !problem && html`<${Skeleton} lines=${8} label="Loading the runs" />`}
            ${runs && sifting && html`<p class="quiet" role="status">${foundWords(shown.length, runs.length, cursor, looking)}</p>`}
            ${runs && !shown.length && !looking && html`<${Nothing} filtered=${Boolean(status || tag || days || sifting)} />`}
            ${shown.length > 0 && html`<${Table} runs=${shown.slice(0, most)} removed=${removed} />`}
            ${runs && !looking && (cursor || shown.length > most) && html`<p class="more"><button type="button" class="button" onClick=${older}>${sifting && shown.length <= most ? "Look through older runs" : "Show older runs"}</button></p>`}
        </${Page}>`;
}

/** What an address asks for, where there is such a thing; else what is shown without it. */
const oneOf = (known, value) => (known.includes(value) ? value : "");

/** A list and its next page, of which some may be there already: whoever clicks twice asks for it twice. */
function joined(runs, more) {
    const there = new Set(runs.map((run) => run.id));
    return [...runs, ...more.filter((run) => !there.has(run.id))];
}

/** Whether a run has all of the words, in its task, its id or its tags. */
function fitsWords(words) {
    const parts = words.toLowerCase().split(/\s+/).filter(Boolean);
    return (run) => {
        if (!parts.length) return true;
        const text = `${run.task} ${run.id} ${run.tags.join(" ")}`.toLowerCase();
        return parts.every((part) => text.includes(part));
    };
}

function fitsCost({ usage }, cost) {
    if (!cost) return true;
    return cost === "unknown" ? !usage.cost_known : usage.cost_known && Number(usage.cost_usd) >= Number(cost);
}

function foundWords(found, looked, cursor, looking) {
    const where = cursor ? `the newest ${plural(looked, "run")}` : `all ${plural(looked, "run")}`;
    return looking ? `Looking through older runs… ${found} found in ${where}.` : `${found} found in ${where}.`;
}

const Nothing = ({ filtered }) =>
    filtered
        ? html`<${Empty} title="No run fits."><button type="button" class="button" onClick=${() => go("/runs", { replace: true })}>Show all runs</button></${Empty}>`
        : html`<${Empty} title="There are no runs yet."><a class="button primary" ...${link("/")}>Start the first one</a></${Empty}>`;

function Table({ runs, removed }) {
    return html`
        <div class="table-box">
            <table class="runs-table">
                <thead><tr><th scope="col">Task</th><th scope="col">Status</th><th scope="col">Agents</th><th scope="col" class="number">Time</th><th scope="col" class="number">Cost</th><th scope="col">When</th><th scope="col"><span class="sr">Menu</span></th></tr></thead>
                <tbody>${runs.map((run) => html`<${Row} key=${run.id} run=${run} removed=${removed} />`)}</tbody>
            </table>
        </div>`;
}

/** A run that went on when the list was read stands as it was last heard of. */
function Row({ run: listed, removed }) {
    const run = listed.ended_at ? listed : (recent.value?.find((each) => each.id === listed.id) ?? listed);
    const [problem, setProblem] = useState(null);
    const created = Date.parse(run.created_at);
    const agents = Object.keys(run.usage.by_agent).filter((name) => name !== "supervisor" && name !== "validator");
    return html`
        <tr>
            <td class="task-cell"><a ...${link(`/runs/${run.id}`)} title=${run.task.slice(0, 300)}>${nameOf(run.task, 140)}</a>${run.tags.map((tag) => html` <span class="tag" key=${tag}>${tag}</span>`)}</td>
            <td><${Chip} status=${run.status} /></td>
            <td><span class="initials">${agents.map((name) => html`<span key=${name} class="initial small" style=${tint(name)} role="img" aria-label=${named(name)} title=${named(name)}>${named(name)[0]}</span>`)}</span></td>
            <td class="number"><${Took} run=${run} /></td>
            <td class="number">${money(run.usage.cost_usd, run.usage.cost_known)}</td>
            <td><time datetime=${run.created_at} title=${dayAndTime(created)}>${since(created, minute.value)}</time></td>
            <td class="menu-cell"><${RowMenu} run=${run} removed=${removed} setProblem=${setProblem} /></td>
        </tr>
        ${problem && html`<${RowProblem} key="problem" problem=${problem} />`}`;
}

/** What went wrong with a run, below its row and in sight. */
function RowProblem({ problem }) {
    const row = useRef(null);
    useEffect(() => row.current.scrollIntoView({ block: "nearest" }), [problem]);
    return html`<tr ref=${row} class="row-problem"><td colspan="7"><${Failure} problem=${problem} /></td></tr>`;
}

/** How long a run took; it alone is drawn with every beat, and only while the run goes on. */
function Took({ run }) {
    if (!run.started_at) return duration(null);
    return duration((run.ended_at ? Date.parse(run.ended_at) : now.value) - Date.parse(run.started_at));
}
