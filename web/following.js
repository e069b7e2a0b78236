// One run, followed: its log is read page by page, folded, and then its stream is followed. Events are folded once a
// frame, whatever comes in between.

import { ask, eventsOf } from "./api.js";
import { initial, reduce, replay, TERMINAL } from "./reducer.js";
import { follow } from "./stream.js";
import { signal } from "./vendor/preact.js";

const HIDDEN_SECONDS = 60;
const ASLEEP_MS = 250;
const AGAIN_MS = 2000;
const LONGEST_MS = 15_000;

export class Following {
    constructor(runId, { onEvents = () => {} } = {}) {
        this.runId = runId;
        this.state = signal(initial());
        this.resource = signal(null);
        this.phase = signal("loading");
        this.problem = signal(null);
        this.onEvents = onEvents;
        this.queue = [];
        this.last = 0;
        this.frames = 0;
        this.waiting = null;
        this.control = new AbortController();
        this.stopStream = () => {};
        this.seen = () => this.onVisibility();
        document.addEventListener("visibilitychange", this.seen);
        this.load();
    }

    /** Read the run and its log, then follow it. */
    async load() {
        const { signal: stop } = this.control;
        for (let tries = 0; ; tries += 1) {
            try {
                const path = `/v1/runs/${this.runId}`;
                const [resource, events] = await Promise.all([
                    ask(path, { signal: stop }),
                    eventsOf(this.runId, { signal: stop }),
                ]);
                this.resource.value = resource;
                this.state.value = replay(events, this.state.value);
                this.last = this.state.value.seq;
                return this.listen();
            } catch (problem) {
                if (stop.aborted) return undefined;
                if (problem.status >= 400 && problem.status < 500 && problem.status !== 429) return this.fail(problem);
                this.problem.value = problem;
                this.phase.value = "reconnecting";
                await new Promise((wake) => setTimeout(wake, Math.min(LONGEST_MS, AGAIN_MS * 1.5 ** tries)));
                if (stop.aborted) return undefined;
            }
        }
    }

    listen() {
        this.stopStream();
        this.problem.value = null;
        if (TERMINAL.has(this.state.value.status)) {
            this.phase.value = "ended";
            return;
        }
        this.stopStream = follow(this.runId, () => this.last, {
            events: (events) => this.take(events),
            state: (state) => (this.phase.value = state),
            problem: (problem) => this.fail(problem),
        });
    }

    /** Go on after a retry: the same log has more, to a later end. */
    again() {
        this.control.abort();
        this.control = new AbortController();
        this.problem.value = null;
        if (!this.resource.value) {
            this.phase.value = "loading";
            this.load();
            return;
        }
        this.flush();
        this.phase.value = "live";
        this.stopStream();
        this.stopStream = follow(this.runId, () => this.last, {
            events: (events) => this.take(events),
            state: (state) => (this.phase.value = state),
            problem: (problem) => this.fail(problem),
        });
    }

    fail(problem) {
        this.problem.value = problem;
        this.phase.value = "failed";
    }

    /** Keep events for the next frame; returns whether the run is over with them. */
    take(events) {
        this.queue.push(...events);
        for (const event of events) if (event.seq > this.last) this.last = event.seq;
        if (this.waiting === null) {
            const due = () => this.flush();
            this.waiting = document.hidden
                ? { timer: setTimeout(due, ASLEEP_MS) }
                : { frame: requestAnimationFrame(due) };
        }
        return events.some((event) => event.type.startsWith("run.") && TERMINAL.has(event.type.slice(4)));
    }

    flush() {
        this.forget();
        const events = this.queue;
        if (!events.length) return;
        this.queue = [];
        this.frames += 1;
        this.state.value = events.reduce(reduce, this.state.value);
        this.onEvents(events);
    }

    forget() {
        if (this.waiting?.timer) clearTimeout(this.waiting.timer);
        if (this.waiting?.frame) cancelAnimationFrame(this.waiting.frame);
        this.waiting = null;
    }

    onVisibility() {
        clearTimeout(this.sleep);
        if (document.hidden) {
            if (this.queue.length) this.flush();
            this.sleep = setTimeout(() => this.nap(), HIDDEN_SECONDS * 1000);
        } else if (this.napping) {
            this.napping = false;
            this.listen();
        }
    }

    nap() {
        if (this.phase.value !== "live" && this.phase.value !== "reconnecting") return;
        this.flush();
        this.stopStream();
        this.napping = true;
    }

    close() {
        this.control.abort();
        this.stopStream();
        this.forget();
        clearTimeout(this.sleep);
        document.removeEventListener("visibilitychange", this.seen);
    }
}
