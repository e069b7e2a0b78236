// What is to be known about a run besides its work: that something is missing, that it ended early, that it failed, and what to do.

import { post } from "../api.js";
import { duration, money, named } from "../format.js";
import { Icon } from "../icons.js";
import { link } from "../router.js";
import { degradedOf, pendingOf } from "../selectors.js";
import { html, useState } from "../vendor/preact.js";
import { Failure } from "./states.js";
import { STOPS } from "./status.js";

export function Notices({ state, following }) {
    return html`
        ${following.phase.value === "failed" && html`<${Failure} problem=${following.problem.value} again=${() => following.again()} />`}
        ${state.gap && html`<p class="notice">Some steps could not be replayed; showing the saved result.</p>`}
        ${state.cache && html`<${Reused} cache=${state.cache} />`}
        ${state.status === "failed" && html`<${Failed} state=${state} following=${following} />`}
        ${state.status === "incomplete" && html`<${Early} state=${state} following=${following} />`}
        ${state.status === "cancelled" && html`<p class="notice">Somebody stopped this run. What was there by then is kept.</p>`}
        <${Degraded} state=${state} />
        ${Object.values(state.doubts).map((each) => html`<${Doubt} key=${each.id} action=${each} known=${knownOf(each, state, following)} />`)}
        <${Budget} state=${state} />`;
}

const Reused = ({ cache }) => html`
    <p class="notice">This is the answer of <a ...${link(`/runs/${cache.run_id}`)}>another run</a> with the same task, ${duration(cache.age * 1000)} old; nothing was spent.</p>`;

function Failed({ state, following }) {
    const error = state.run?.error ?? { title: "The run has failed", detail: "" };
    return html`
        <div class="failure" role="alert">
            <p class="failure-title">${error.title}</p>
            ${error.detail && html`<p>${error.detail}</p>`}
            <p class="quiet">${error.code && html`Code <code>${error.code}</code> · `}Run <code>${following.runId}</code></p>
            <${Retry} following=${following} words="Go on from where it stood" />
        </div>`;
}

function Early({ state, following }) {
    const budget = state.stopReason === "budget" ? state.run?.budget : null;
    return html`
        <div class="notice" role="status">
            <p><strong>It ended early.</strong> ${STOPS[state.stopReason] ?? ""} What there is so far is below.</p>
            ${budget && html`<p>Spent: ${budget.spent.tokens.toLocaleString("en")} tokens${budget.spent.cost_known ? `, ${money(budget.spent.cost_usd)}` : "; what they cost is not known to this server"}.</p>`}
            <${Retry} following=${following} budget=${budget} words="Go on from where it stood" />
        </div>`;
}

const LIMITS = { max_cost_usd: "Limit in US dollars", max_tokens: "Limit in tokens" };

/** Go on after the end; at a budget with higher limits, for the same would end it again. */
function Retry({ following, budget, words }) {
    const names = Object.keys(LIMITS).filter((name) => budget?.[name]);
    const [limits, setLimits] = useState(() => Object.fromEntries(names.map((name) => [name, String(Number(budget[name]) * 2)])));
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState(null);
    const again = async () => {
        setBusy(true);
        setProblem(null);
        try {
            await post(`/v1/runs/${following.runId}/retry`, names.length ? { budget: raised(limits) } : {});
            following.again();
        } catch (error) {
            setProblem(error);
        }
        setBusy(false);
    };
    return html`
        <div class="row">
            ${names.map((name) => html`<label key=${name} class="inline-label">${LIMITS[name]} <input class="short" inputmode="decimal" value=${limits[name]} onInput=${(event) => setLimits({ ...limits, [name]: event.target.value })} /></label>`)}
            <button type="button" class="button" disabled=${busy} onClick=${again}><${Icon} name="retry" /> ${words}</button>
        </div>
        ${problem && html`<${Failure} problem=${problem} />`}`;
}

/** Limits as the API has them: money as a decimal in a text, tokens as a number; what is no number is sent, and refused in words. */
function raised({ max_cost_usd: cost, max_tokens: tokens }) {
    const whole = Number(tokens);
    return {
        ...(cost === undefined ? {} : { max_cost_usd: cost.trim().replace(",", ".") }),
        ...(tokens === undefined ? {} : { max_tokens: Number.isFinite(whole) ? whole : tokens }),
    };
}

function Degraded({ state }) {
    const parts = degradedOf(state);
    if (!parts.length) return null;
    return html`
        <div class="notice is-missing">
            <p><strong>Parts of the answer are missing.</strong></p>
            <ul>${parts.map((part, index) => html`<li key=${index}><span class="plan-agent">${named(part.agent)}</span>: ${part.reason}</li>`)}</ul>
        </div>`;
}

const OUTCOMES = { done: "done", failed: "not_done" };

/** What somebody has said of an action since, where the run had it when it was loaded: nothing in its log says so. */
function knownOf(action, state, following) {
    const actions = following.resource.value?.actions ?? state.run?.actions ?? [];
    return OUTCOMES[actions.find((each) => each.id === action.id)?.status] ?? null;
}

/** Nobody knows whether a call took effect: a person looks, and says so. */
function Doubt({ action, known }) {
    const [said, setSaid] = useState(null);
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState(null);
    const settled = said ?? known;
    const settle = async (outcome) => {
        setBusy(true);
        setProblem(null);
        try {
            await post(`/v1/actions/${action.id}/resolution`, { outcome });
            setSaid(outcome);
        } catch (error) {
            setProblem(error);
        }
        setBusy(false);
    };
    if (settled) return html`<p class="notice">Noted: the call of <code>${action.tool}</code> ${settled === "done" ? "took effect" : "did not take effect"}.</p>`;
    return html`
        <div class="notice is-asking" role="group" aria-label="An action in doubt">
            <p><strong>It is not known whether a call of <code>${action.tool}</code> took effect.</strong> It is not made again. Look at the target, then say what you found.</p>
            <div class="row">
                <button type="button" class="button" disabled=${busy} onClick=${() => settle("done")}>It took effect</button>
                <button type="button" class="button" disabled=${busy} onClick=${() => settle("not_done")}>It did not</button>
            </div>
            ${problem && html`<${Failure} problem=${problem} />`}
        </div>`;
}

function Budget({ state }) {
    const last = state.warnings[state.warnings.length - 1];
    if (!last || state.run) return null;
    if (pendingOf(state).some((each) => each.type === "budget")) return null; // the card says it
    if (last.kind === "reached") return html`<p class="notice">${last.detail}</p>`;
    const limit = { max_cost_usd: "cost", max_tokens: "token" }[last.limit] ?? last.limit;
    return html`<p class="notice">Four fifths of the ${limit} limit ${last.scope === "run" ? "" : `of ${named(last.scope)} `}are used.</p>`;
}
