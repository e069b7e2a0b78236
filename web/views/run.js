// One run: what was asked, who works now, what needs a person, the answer and its files.

import { Following } from "../following.js";
import { named } from "../format.js";
import { refreshSoon, said } from "../house.js";
import { useKeys } from "../keys.js";
import { decidedOf, isOver, pendingOf, stepsOf } from "../selectors.js";
import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { Agents, Finished } from "./agents.js";
import { Answer } from "./answer.js";
import { ApprovalCard, Decided } from "./approval.js";
import { Artifacts } from "./artifacts.js";
import { Composer } from "./composer.js";
import { Inspector } from "./inspector.js";
import { Notices } from "./notices.js";
import { Page } from "./page.js";
import { Plan } from "./plan.js";
import { RunHeader } from "./run_header.js";
import { Failure, Guard, Missing, Skeleton } from "./states.js";
import { WORDS } from "./status.js";
import { Timeline } from "./timeline.js";
import { WebhookSecret } from "./webhook_secret.js";

const TELLING = /^(?:run\.|approval\.)/;

/** Follow a run for as long as the view is there. */
export function useFollowing(id) {
    const following = useMemo(
        () =>
            new Following(id, {
                onEvents: (events) => {
                    if (events.some((event) => TELLING.test(event.type))) refreshSoon();
                    announce(events);
                },
            }),
        [id],
    );
    useEffect(() => () => following.close(), [following]);
    return following;
}

function announce(events) {
    for (const event of events) {
        if (event.type === "agent.started") said.value = `${named(event.agent)} works`;
        else if (event.type === "agent.completed") said.value = `${named(event.agent)} is done`;
        else if (event.type === "agent.failed") said.value = `${named(event.agent)} has failed`;
        else if (event.type === "approval.requested") said.value = `${named(event.agent)} needs you`;
        else if (event.type.startsWith("run.")) said.value = `Run: ${WORDS[event.type.slice(4)] ?? "running"}`;
    }
}

export function RunView({ id }) {
    const following = useFollowing(id);
    const [chosen, setChosen] = useState(null);
    const phase = following.phase.value;
    const state = following.state.value;
    const resource = following.resource.value;
    const close = () => {
        setChosen(null);
        chosen?.opener?.focus?.();
    };
    const choose = (what) => setChosen({ ...what, opener: document.activeElement });
    useKeys({
        Escape: () => chosen && close(),
        j: () => choose(neighbour(state, chosen, 1)),
        k: () => choose(neighbour(state, chosen, -1)),
    });

    if (phase === "failed" && state.seq === 0) {
        const problem = following.problem.value;
        if (problem.status === 404) return html`<${Missing} what="run" />`;
        return html`<${Page} title="Run"><h1>This run cannot be shown</h1><${Failure} problem=${problem} again=${() => following.again()} /></${Page}>`;
    }
    if (!resource) {
        return html`<${Page} title="Run" busy=${true}>
            <h1 class="sr">Run</h1>
            ${phase === "reconnecting" && html`<${Reconnecting} />`}
            <${Skeleton} lines=${2} tall=${true} label="Loading the run" /><${Skeleton} lines=${4} /><${Skeleton} lines=${6} />
        </${Page}>`;
    }
    const over = isOver(state);
    const aside = chosen && html`<${Guard} key=${chosen.key} what="These details"><${Inspector} chosen=${chosen} state=${state} runId=${id} close=${close} choose=${choose} /></${Guard}>`;
    const asks = pendingOf(state).map((each) => html`<${Guard} key=${each.id} what="A question for you"><${ApprovalCard} id=${each.id} asked=${each} /></${Guard}>`);
    // Where there is little room, what needs somebody comes first.
    const narrow = matchMedia("(max-width: 899px)").matches;
    const title = state.task.length > 60 ? `${state.task.slice(0, 60)}…` : state.task;
    return html`
        <${Page} title=${title} aside=${aside}>
            <${RunHeader} state=${state} resource=${resource} following=${following} />
            ${phase === "reconnecting" && html`<${Reconnecting} />`}
            <${WebhookSecret} runId=${id} />
            <${Notices} state=${state} following=${following} />
            ${pendingOf(state).length === 0 && html`<${Guard} key="answer" what="The answer"><${Answer} state=${state} runId=${id} choose=${choose} /></${Guard}>`}
            ${over && html`<${Guard} key="files" what="The list of files"><${Artifacts} state=${state} choose=${choose} /></${Guard}>`}
            ${narrow && asks}
            <${Guard} key="plan" what="The plan"><${Plan} state=${state} choose=${choose} /></${Guard}>
            <${Guard} key="timeline" what="The timeline"><${Timeline} state=${state} chosen=${chosen} choose=${choose} /></${Guard}>
            ${!narrow && asks}
            <${Guard} key="decisions" what="What was decided"><${Decisions} state=${state} /></${Guard}>
            ${!over && html`<${Guard} key="files-so-far" what="The list of files"><${Artifacts} state=${state} choose=${choose} /></${Guard}>`}
            ${!over && html`<${Guard} key="agents" what="Who works"><${Agents} state=${state} choose=${choose} /></${Guard}>`}
            <${Guard} key="finished" what="The finished steps"><${Finished} state=${state} choose=${choose} /></${Guard}>
            <${Composer} state=${state} runId=${id} />
        </${Page}>`;
}

/** What people have decided, each in a line. */
function Decisions({ state }) {
    const list = decidedOf(state);
    if (!list.length) return null;
    return html`<section class="decisions" aria-label="Decisions">${list.map((each) => html`<${Decided} key=${each.id} approval=${each} />`)}</section>`;
}

const Reconnecting = () => html`<p class="banner" role="status">Connection lost. Reconnecting; nothing is lost, the run goes on.</p>`;

/** The step before or after the one that is shown. */
function neighbour(state, chosen, way) {
    const steps = stepsOf(state);
    if (!steps.length) return chosen;
    const at = steps.findIndex((step) => step.key === chosen?.key);
    const next = at < 0 ? (way > 0 ? 0 : steps.length - 1) : Math.min(steps.length - 1, Math.max(0, at + way));
    return { kind: "step", key: steps[next].key };
}
