// What stands where, in words and marks: never in colour alone.

import { html } from "../vendor/preact.js";

export const WORDS = {
    queued: "Queued",
    running: "Running",
    requires_action: "Needs you",
    completed: "Done",
    failed: "Failed",
    cancelled: "Stopped",
    incomplete: "Ended early",
};

export const STOPS = {
    max_rounds: "It used all the rounds it may have.",
    no_progress: "The last rounds brought nothing new.",
    deadline: "Its time was over.",
    budget: "Its budget was used up.",
    cancelled: "Somebody stopped it.",
    error: "Something went wrong.",
};

/** A mark: a dot, a square where something failed. */
export const Dot = ({ status }) => html`<span class=${`dot is-${status}`} role="img" aria-label=${WORDS[status] ?? status} />`;

/** How a run stands. */
export const Chip = ({ status }) => html`
    <span class=${`chip is-${status}`} data-status=${status}><span class=${`dot is-${status}`} aria-hidden="true" />${WORDS[status] ?? status}</span>`;

/** How a step stands: a ring that turns, a check, a square. */
export function StepMark({ status }) {
    const words = { queued: "waiting", running: "running", waiting: "needs you", done: "done", failed: "failed", stopped: "stopped", skipped: "skipped" };
    return html`<span class=${`step-mark is-${status}`} role="img" aria-label=${words[status] ?? status}>
        ${status === "done" &&
        html`<svg viewBox="0 0 16 16" width="10" height="10" aria-hidden="true"><path d="m3 8.5 3.2 3.2L13 4.8" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round" /></svg>`}
    </span>`;
}

export const STEP_WORDS = {
    running: "running",
    waiting: "needs you",
    done: "done",
    failed: "failed",
    stopped: "stopped",
};
