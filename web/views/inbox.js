// All that needs a person, over all runs, oldest first; several calls of one tool are decided together.

import { post } from "../api.js";
import { nameOf } from "../exact.js";
import { named, plural, since } from "../format.js";
import { inbox, inboxProblem, now, recent, refresh, refreshSoon } from "../house.js";
import { go, link, place } from "../router.js";
import { html, useState } from "../vendor/preact.js";
import { ApprovalCard } from "./approval.js";
import { Page } from "./page.js";
import { Empty, Failure, Guard, Skeleton } from "./states.js";

export function InboxView() {
    const [chosen, setChosen] = useState([]);
    const [kept, setKept] = useState([]);
    const rows = inbox.value;
    const query = place.value.query;
    const agent = query.get("agent") ?? "";
    const tool = query.get("tool") ?? "";
    const fits = (each) => (!agent || each.agent === agent) && (!tool || each.tool === tool);
    const ids = new Set((rows ?? []).map((each) => each.id));
    const listed = [...(rows ?? []), ...kept.filter((each) => !ids.has(each.id))].filter(fits);
    const filter = (name, value) => {
        const next = new URLSearchParams(query);
        if (value) next.set(name, value);
        else next.delete(name);
        go(`/inbox${next.size ? `?${next}` : ""}`, { replace: true });
    };
    const several = listed.filter((each) => chosen.includes(each.id) && ids.has(each.id));
    const toggle = (id) => setChosen(chosen.includes(id) ? chosen.filter((each) => each !== id) : [...chosen, id]);
    return html`
        <${Page} title="Approvals" busy=${!rows}>
            <header class="page-head">
                <h1>Approvals</h1>
                <p class="lead">${rows?.length ? rows.length > 1 ? `${rows.length} questions for you, oldest first.` : "1 question for you." : "What agents may not do without you is asked here."}</p>
            </header>
            ${rows && rows.length > 1 && html`<${Filters} rows=${rows} agent=${agent} tool=${tool} filter=${filter} />`}
            ${inboxProblem.value && html`<${Failure} problem=${inboxProblem.value} again=${refresh} />`}
            ${!rows && !inboxProblem.value && html`<${Skeleton} lines=${5} label="Loading what waits for you" />`}
            ${rows && !listed.length && html`<${Nothing} filtered=${Boolean(agent || tool)} />`}
            ${several.length > 1 && html`<${Together} approvals=${several} done=${() => setChosen([])} />`}
            <ul class="inbox">
                ${listed.map(
                    (each) => html`
                        <li key=${each.id}>
                            ${ids.has(each.id) && rows.filter((other) => other.tool === each.tool && other.type === "action").length > 1 && each.type === "action" &&
                            html`<label class="check-label inbox-choose"><input type="checkbox" checked=${chosen.includes(each.id)} onChange=${() => toggle(each.id)} /> Choose, to decide several together</label>`}
                            <${Guard} what="A question for you"><${ApprovalCard} id=${each.id} asked=${ids.has(each.id) ? each : { status: "decided" }} headed=${false}
                                link=${html`<${Whence} approval=${each} />`} onDecided=${() => setKept([...kept, each])} /></${Guard}>
                        </li>`,
                )}
            </ul>
        </${Page}>`;
}

function Whence({ approval }) {
    const run = (recent.value ?? []).find((each) => each.id === approval.run_id);
    return html`<p class="quiet">Asked ${since(Date.parse(approval.created_at), now.value)} in <a ...${link(`/runs/${approval.run_id}`)}>${run ? `${nameOf(run.task, 90)}${run.task.trim().length > 90 ? "…" : ""}` : "its run"}</a></p>`;
}

function Filters({ rows, agent, tool, filter }) {
    const agents = [...new Set(rows.map((each) => each.agent))];
    const tools = [...new Set(rows.map((each) => each.tool).filter(Boolean))];
    return html`
        <div class="filters" role="group" aria-label="Filter">
            <label>Agent <select value=${agent} onChange=${(event) => filter("agent", event.target.value)}><option value="">all</option>${agents.map((each) => html`<option key=${each} value=${each}>${named(each)}</option>`)}</select></label>
            <label>Tool <select value=${tool} onChange=${(event) => filter("tool", event.target.value)}><option value="">all</option>${tools.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select></label>
        </div>`;
}

function Nothing({ filtered }) {
    if (filtered) return html`<${Empty} title="Nothing fits this filter."><button type="button" class="button" onClick=${() => go("/inbox", { replace: true })}>Show all</button></${Empty}>`;
    return html`
        <${Empty} title="Nothing needs you.">
            <p>Questions of agents appear here and in their run, and in the title of this tab.</p>
            <a class="button" ...${link("/")}>Start a run</a>
        </${Empty}>`;
}

function Together({ approvals, done }) {
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState(null);
    const decide = async (type) => {
        setBusy(true);
        setProblem(null);
        const byRun = Map.groupBy ? Map.groupBy(approvals, (each) => each.run_id) : grouped(approvals);
        try {
            for (const [runId, list] of byRun) {
                const decisions = list.map((each) => ({ approval_id: each.id, type, ...(each.args_digest ? { args_digest: each.args_digest } : {}) }));
                await post(`/v1/runs/${runId}/decisions`, { decisions });
            }
            done();
        } catch (error) {
            setProblem(error);
        }
        setBusy(false);
        await refresh();
        refreshSoon();
    };
    return html`
        <div class="together" role="group" aria-label="Decide together">
            <p>${plural(approvals.length, "call")} chosen</p>
            <button type="button" class="button primary" disabled=${busy} onClick=${() => decide("approve")}>Approve all of them</button>
            <button type="button" class="button danger" disabled=${busy} onClick=${() => decide("reject")}>Reject all of them</button>
            ${problem && html`<${Failure} problem=${problem} />`}
        </div>`;
}

function grouped(approvals) {
    const byRun = new Map();
    for (const each of approvals) byRun.set(each.run_id, [...(byRun.get(each.run_id) ?? []), each]);
    return byRun;
}
