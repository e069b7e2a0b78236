// Who worked when: a lane for each agent, side by side in wall time. Time in which all waits for a person is drawn short.

import { tint } from "../agents.js";
import { duration, named } from "../format.js";
import { now } from "../house.js";
import { callsOf, isOver, lanesOf, stepsOf } from "../selectors.js";
import { html } from "../vendor/preact.js";
import { STEP_WORDS } from "./status.js";

const TICKS = 4;
const SHORTEST_WAIT = 1500;
const LEAST = 24; // pixels: what a finger meets
const NARROW = 900;
const ROOM = 0.045; // how much of a lane that is, at least
const ROOM_NARROW = 0.1;

export function Timeline({ state, chosen, choose }) {
    if (state.startedAt === null) return null;
    const end = isOver(state) ? state.endedAt : Math.max(now.value, state.lastAt);
    const scale = makeScale(state, end);
    const lanes = lanesOf(state, end).map((lane) => ({ ...lane, bars: gather(lane.bars, scale) }));
    if (!lanes.length) return null;
    return html`
        <section class="timeline" aria-label="Timeline">
            <div class="axis" aria-hidden="true">
                ${scale.ticks.map((tick) => html`<span key=${tick.at} style=${{ left: tick.at }}><i>${tick.label}</i></span>`)}
                ${scale.waits.map((wait) => html`<div key=${wait.key} class="pause" style=${{ left: wait.left, width: wait.width }} />`)}
            </div>
            <ul class="lanes">
                ${lanes.map(
                    (lane) => html`
                        <li key=${lane.agent} class="lane" style=${tint(lane.agent)}>
                            <span class="lane-name">${named(lane.agent)}</span>
                            <div class="lane-bars">
                                ${lane.bars.map((bar) => html`<${Bar} key=${bar.key} bar=${bar} state=${state} scale=${scale} chosen=${chosen != null && bar.keys.includes(chosen.key)} choose=${choose} />`)}
                            </div>
                        </li>`,
                )}
            </ul>
            <${Legend} state=${state} />
        </section>`;
}

/** What the marks mean that are to be seen. */
function Legend({ state }) {
    const calls = Object.values(state.calls);
    const asked = stepsOf(state).some((step) => step.pauses.length);
    const failed = calls.some((call) => call.status === "failed");
    if (!calls.length && !asked) return null;
    return html`
        <p class="legend" aria-hidden="true">
            ${calls.some((call) => call.status !== "failed") && html`<span><i class="tick" /> a tool was called</span>`}
            ${failed && html`<span><i class="tick is-failed" /> a call that failed</span>`}
            ${asked && html`<span><i class="asked" /> waited for you</span>`}
            <span>Choose a bar to see its details</span>
        </p>`;
}

function Bar({ bar, state, scale, chosen, choose }) {
    const left = scale.x(bar.startedAt);
    const width = scale.x(bar.end) - left;
    const place = { left: `min(${left * 100}%, 100% - ${LEAST}px)`, width: `max(${LEAST}px, ${width * 100}%)` };
    const { status } = bar;
    const kind = bar.kind === "group" ? "group" : bar.kind === "step" ? "step" : "bar";
    const words = wordsOf(bar);
    const took = bar.endedAt === null ? "" : `, ${duration(bar.endedAt - bar.startedAt)}`;
    return html`
        <button type="button" class=${`bar is-${status} kind-${bar.kind}`} style=${place} aria-pressed=${chosen ? "true" : "false"}
            aria-label=${`${named(bar.agent)}: ${words}, ${STEP_WORDS[status] ?? status}${took}`} title=${words}
            onClick=${() => bar.kind !== "thinking" && choose({ kind, key: bar.key, parts: bar.parts })}>
            ${bar.kind === "step" && html`<${Marks} step=${bar} state=${state} scale=${scale} />`}
        </button>`;
}

/** What happened within a step: a dot for each tool call, a square for one that failed, a band while a person was asked. */
function Marks({ step, state, scale }) {
    const begin = scale.x(step.startedAt);
    const span = Math.max(1e-6, scale.x(step.end) - begin);
    const at = (moment) => Math.min(1, Math.max(0, (scale.x(moment) - begin) / span));
    const calls = callsOf(state, step);
    const inner = calls.map((call) => html`<i key=${call.id} class=${`tick is-${call.status}`} style=${{ left: `${at(call.startedAt) * 100}%` }} />`);
    const pauses = step.pauses.map((pause) => {
        const left = at(pause.from);
        return html`<i key=${pause.id} class="asked" style=${{ left: `${left * 100}%`, width: `${(at(pause.to ?? step.end) - left) * 100}%` }} />`;
    });
    return html`${pauses}${inner}`;
}

const statusOf = (bar) => (bar.kind === "step" ? bar.status : bar.kind === "thinking" ? "running" : "done");

/** Put bars together that are too close to be told apart, or to be met with a finger. */
function gather(bars, scale) {
    const room = innerWidth < NARROW ? ROOM_NARROW : ROOM;
    const begin = (bar) => Math.min(scale.x(bar.startedAt), 1 - room);
    const gathered = [];
    for (const each of bars) {
        const bar = { ...each, status: statusOf(each), keys: [each.key], parts: [each] };
        const last = gathered[gathered.length - 1];
        if (!last || begin(bar) - begin(last) >= room) {
            gathered.push(bar);
            continue;
        }
        gathered[gathered.length - 1] = {
            ...last,
            kind: "group",
            keys: [...last.keys, each.key],
            parts: [...last.parts, each],
            end: Math.max(last.end, bar.end),
            endedAt: last.endedAt === null || bar.endedAt === null ? null : Math.max(last.endedAt, bar.endedAt),
            status: [last.status, bar.status].find((status) => status !== "done") ?? "done",
        };
    }
    return gathered;
}

function wordsOf(bar) {
    if (bar.kind === "group") return bar.parts.map(wordsOf).join(", then ");
    if (bar.kind === "step") return bar.task || "works";
    if (bar.kind === "thinking") return "decides what comes next";
    if (bar.kind === "answer") return "writes the answer";
    if (bar.kind === "validation") return "checks the results";
    return bar.assignments?.length ? "decides who works" : "decides that it is enough";
}

/** Return how moments become places: linear, but for long waits, which take a small part of the width. */
function makeScale(state, end) {
    const begin = state.startedAt;
    const waits = state.waits.map((wait) => ({ from: wait.from, to: wait.to ?? end })).filter((wait) => wait.to > wait.from);
    const waited = waits.reduce((sum, wait) => sum + wait.to - wait.from, 0);
    const worked = Math.max(500, end - begin - waited);
    const most = Math.max(SHORTEST_WAIT, worked * 0.12);
    const short = (wait) => Math.min(wait.to - wait.from, most);
    const total = worked + waits.reduce((sum, wait) => sum + short(wait), 0);
    const drawn = (moment) => {
        let place = moment - begin;
        for (const wait of waits) {
            const inside = Math.min(Math.max(0, moment - wait.from), wait.to - wait.from);
            const factor = short(wait) / (wait.to - wait.from);
            place -= inside * (1 - factor);
        }
        return Math.min(1, Math.max(0, place / total));
    };
    return { x: drawn, ticks: ticksOf(begin, end, drawn), waits: waits.map((wait, key) => ({ key, left: across(drawn(wait.from)), width: `calc((100% - var(--lane)) * ${drawn(wait.to) - drawn(wait.from)})` })) };
}

/** A place on the axis, which begins where the lanes do. */
const across = (part) => `calc(var(--lane) + (100% - var(--lane)) * ${part})`;

/** Round moments, as many as find room; each says how long after the beginning it is. */
function ticksOf(begin, end, drawn) {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400];
    const span = (end - begin) / 1000;
    const step = steps.find((each) => span / each <= TICKS + 1) ?? span / TICKS;
    const most = innerWidth < NARROW ? 0.84 : 0.95; // a label behind it would not fit
    const ticks = [];
    let last = -1;
    for (let second = 0; second <= span; second += step) {
        const at = drawn(begin + second * 1000);
        if (at - last < 0.12 || at > most) continue;
        last = at;
        ticks.push({ at: across(at), label: tickLabel(second, step) });
    }
    return ticks;
}

function tickLabel(second, step) {
    if (second < 60) return `${second.toFixed(step < 1 ? 1 : 0)} s`;
    if (second < 3600) return `${Math.round(second / 60)} min`;
    return `${(second / 3600).toFixed(step < 3600 ? 1 : 0)} h`;
}
