// What is read off a run's state: who works, what waits, what there is to show. Pure, like the reducer.

import { TERMINAL } from "./reducer.js";

/** The steps in the order in which they began. */
export const stepsOf = (state) => state.order.map((key) => state.steps[key]);

export const isOver = (state) => TERMINAL.has(state.status);

/** The approvals that wait, oldest first. */
export const pendingOf = (state) =>
    Object.values(state.approvals)
        .filter((each) => each.status === "pending")
        .sort((a, b) => a.askedAt - b.askedAt);

export const decidedOf = (state) =>
    Object.values(state.approvals)
        .filter((each) => each.status !== "pending")
        .sort((a, b) => a.askedAt - b.askedAt);

/** The final answer as it is being written, or as it is; "" where there is none yet. */
export function answerOf(state) {
    if (state.run?.result) return state.run.result.output;
    const written = Object.values(state.messages).filter((message) => message.path === "supervisor");
    return written.length ? written[written.length - 1].text : "";
}

export const citationsOf = (state) => state.run?.result?.citations ?? [];

/** The files: what the run has at its end, or else what has come so far. */
export const artifactsOf = (state) => state.run?.result?.artifacts ?? Object.values(state.artifacts);

/** One lane for each agent, in the order of appearance: `{agent, bars}`. */
export function lanesOf(state, now) {
    const lanes = new Map();
    const put = (agent, bar) => lanes.set(agent, [...(lanes.get(agent) ?? []), bar]);
    const bars = [...state.bars];
    if (state.idleSince !== null && state.status === "running") {
        bars.push({ key: "bar:now", lane: "supervisor", kind: "thinking", startedAt: state.idleSince, endedAt: null });
    }
    const all = [
        ...bars.map((bar) => ({ ...bar, agent: bar.lane })),
        ...stepsOf(state).map((step) => ({ ...step, kind: "step" })),
    ].sort((a, b) => a.startedAt - b.startedAt);
    for (const each of all) {
        put(each.agent, { ...each, end: Math.max(each.endedAt ?? now, each.startedAt) });
    }
    return [...lanes].map(([agent, list]) => ({ agent, bars: list }));
}

/** The plan: each round with what was assigned in it, and how far that is. */
export function planOf(state) {
    return state.rounds
        .filter((round) => round.assignments.length)
        .map((round, number) => {
            const counted = {};
            const items = round.assignments.map((assignment) => {
                const nth = (counted[assignment.agent] = (counted[assignment.agent] ?? 0) + 1);
                const path = nth === 1 ? assignment.agent : `${assignment.agent}#${nth}`;
                const step = state.steps[`${round.round}:${path}`];
                const status = step?.status ?? (isOver(state) ? "skipped" : "queued");
                return { ...assignment, path, key: `${number}:${round.round}:${path}`, step, status };
            });
            return { ...round, number: number + 1, items };
        });
}

/** Tokens of a usage, in and out. */
export const tokensOf = (usage) => (usage ? usage.input_tokens + usage.output_tokens : 0);

/** What may still go wrong with an answer: parts that are missing. */
export const degradedOf = (state) => state.run?.degraded ?? [];

export const callsOf = (state, step) => step.calls.map((id) => state.calls[id]).filter(Boolean);

export const messagesOf = (state, step) =>
    step.messages.map((id) => state.messages[id]).filter((message) => message && message.text);
