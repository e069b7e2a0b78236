// One question to a person: what would run, with its arguments as fields; approve it, change it, refuse it, answer it.

import { tint } from "../agents.js";
import { ask } from "../api.js";
import { clock, named, until } from "../format.js";
import { now, refreshSoon, said, toolsByName } from "../house.js";
import { Icon } from "../icons.js";
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { ActionBody } from "./approval_action.js";
import { InputBody } from "./approval_input.js";
import { BudgetBody } from "./approval_other.js";
import { Failure, Skeleton } from "./states.js";

const RESULTS = { approve: "approved", edit: "approved with edits", reject: "rejected", respond: "answered" };

const BUDGETS = { approve: "The budget was raised", edit: "The budget was raised", reject: "The budget was not raised, so the run ended with what there was: decided" };

/** The card of an approval; `asked` is what an event or a list says of it, the rest is asked for. */
export function ApprovalCard({ id, asked, headed = true, link = null, onDecided = () => {} }) {
    const [approval, setApproval] = useState(null);
    const [problem, setProblem] = useState(null);
    const load = () => {
        setProblem(null);
        ask(`/v1/approvals/${id}`, { exact: true }).then(setApproval).catch(setProblem);
    };
    useEffect(load, [id, asked?.status]);
    if (problem && !approval) return html`<${Failure} problem=${problem} again=${load} />`;
    if (!approval) return html`<section class="approval" aria-label="Something needs you"><${Skeleton} lines=${4} label="Loading the question" /></section>`;
    const decided = (next) => {
        setApproval(next);
        said.value = `${named(next.agent)}: ${RESULTS[next.decision?.type] ?? next.status}`;
        refreshSoon();
        onDecided(next);
    };
    if (approval.status !== "pending") return html`<${Decided} approval=${approval} />`;
    return html`<${Question} key=${approval.id} approval=${approval} decided=${decided} reload=${load} headed=${headed} link=${link} />`;
}

/** What was decided, in one line. */
export function Decided({ approval }) {
    const { decision } = approval;
    const onBudget = approval.type === "budget" && decision;
    const what = approval.tool ? html`<span class="mono">${approval.tool}</span>` : "a question";
    const words = decision ? RESULTS[decision.type] : { expired: "expired: nobody decided in time", cancelled: "no longer asked" }[approval.status];
    return html`
        <p class="decided" role="status" data-decision=${decision?.type ?? approval.status}>
            <${Icon} name=${decision && decision.type !== "reject" ? "check" : "close"} />
            <span>${onBudget ? BUDGETS[decision.type] ?? words : html`${named(approval.agent)}: ${what} ${words}`}${decision && html` by ${decision.by === "default" ? "this machine" : decision.by}, <time datetime=${decision.at}>${clock(Date.parse(decision.at))}</time>`}${decision?.message && html` – “${decision.message}”`}</span>
        </p>`;
}

function Question({ approval, decided, reload, headed, link }) {
    const card = useRef(null);
    const titleId = `title-${approval.id}`;
    // Where nobody writes, what needs a person takes the focus.
    useEffect(() => {
        const active = document.activeElement;
        if (headed && (!active || active === document.body)) card.current?.focus({ preventScroll: true });
    }, []);
    const Body = { action: ActionBody, budget: BudgetBody, input: InputBody }[approval.type] ?? ActionBody;
    return html`
        <article class="approval" ref=${card} tabindex="-1" aria-labelledby=${titleId} style=${tint(approval.agent)} data-approval=${approval.id}>
            <header>
                <span class="approval-mark" aria-hidden="true"><${Icon} name=${approval.type === "input" ? "bell" : "clock"} size=${18} /></span>
                <div>
                    <h2 id=${titleId}>${titleOf(approval)}</h2>
                    <p class="approval-about">${aboutOf(approval)}</p>
                    ${link}
                </div>
                <${Expiry} approval=${approval} />
            </header>
            <${Body} approval=${approval} decided=${decided} reload=${reload} />
        </article>`;
}

function titleOf(approval) {
    if (approval.type === "budget") return "The budget is used up: may more be spent?";
    if (approval.type === "input") return `${named(approval.agent)} asks you`;
    return html`${named(approval.agent)} wants to run <code>${approval.tool}</code>`;
}

const EFFECTS = {
    none: "It only reads.",
    workspace: "It works in the run's own folder, without network.",
    external: "It changes something outside of this run.",
};

function aboutOf(approval) {
    if (approval.type !== "action") return approval.description;
    return html`<${Effect} tool=${approval.tool} /> ${approval.on_expiry === "fail" ? "When nobody decides in time, the run fails." : ""}`;
}

function Effect({ tool }) {
    const [words, setWords] = useState("");
    useEffect(() => {
        toolsByName().then((tools) => setWords(EFFECTS[tools.get(tool)?.effect] ?? "")).catch(() => {});
    }, [tool]);
    return html`<span>${words}</span>`;
}

function Expiry({ approval }) {
    if (!approval.expires_at) return null;
    const end = Date.parse(approval.expires_at);
    const left = until(end, now.value);
    return html`<span class="expiry" title=${new Date(end).toLocaleString()}>${left ? `expires in ${left}` : "expired"}</span>`;
}
