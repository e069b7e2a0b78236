// A run's events as they come: fetch, because EventSource can neither be told what it has seen after a reload nor
// say why it failed. It goes on after the last stored event until the run has ended.

import { at, heed, problemOf } from "./api.js";

const FIRST_WAIT = 400;
const LONGEST_WAIT = 8000;
const SILENCE = 35_000; // three pings are missing: the connection is dead, whatever the system thinks

/**
 * Follow a run. `after()` is the number of the last event that is folded; `on.events(list)` gets what came;
 * `on.state(state)` is "live", "reconnecting" or "ended"; `on.problem(problem)` what cannot be mended by trying again.
 * Returns how to stop.
 */
export function follow(runId, after, on) {
    const control = new AbortController();
    run(runId, after, on, control.signal);
    return () => control.abort();
}

async function run(runId, after, on, signal) {
    let tries = 0;
    while (!signal.aborted) {
        try {
            const ended = await once(runId, after, on, signal, () => (tries = 0));
            if (ended) return on.state("ended");
        } catch (error) {
            if (signal.aborted) return;
            if (error.status >= 400 && error.status < 500 && error.status !== 429) {
                heed(error);
                return on.problem(error);
            }
        }
        if (signal.aborted) return;
        on.state("reconnecting");
        await pause(Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** tries) * (0.8 + 0.4 * Math.random()), signal);
        tries += 1;
    }
}

/** Open the stream once; returns whether the run has ended. */
async function once(runId, after, on, signal, begun) {
    const silence = new AbortController();
    const both = AbortSignal.any ? AbortSignal.any([signal, silence.signal]) : signal;
    let timer = setTimeout(() => silence.abort(), SILENCE);
    try {
        const response = await fetch(at(`/v1/runs/${runId}/events`), {
            headers: { accept: "text/event-stream", "last-event-id": String(after()) },
            signal: both,
            cache: "no-store",
        });
        if (response.status === 204) return true;
        if (!response.ok) throw await problemOf(response);
        on.state("live");
        const frames = parser();
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return false;
            clearTimeout(timer);
            timer = setTimeout(() => silence.abort(), SILENCE);
            const events = frames(value);
            if (events.length) begun(); // a stream that opens and breaks is no success: the next try waits longer
            if (events.length && on.events(events)) return true;
        }
    } finally {
        clearTimeout(timer);
    }
}

/** Return what turns pieces of text into events; a frame that is cut short is not one. */
export function parser() {
    let rest = "";
    return (text) => {
        rest += text;
        const frames = rest.split("\n\n");
        rest = frames.pop();
        const events = [];
        for (const frame of frames) {
            const data = frame
                .split("\n")
                .filter((line) => line.startsWith("data:"))
                .map((line) => line.slice(5).trimStart())
                .join("\n");
            if (data) events.push(JSON.parse(data));
        }
        return events;
    };
}

function pause(ms, signal) {
    return new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        const wake = () => (clearTimeout(timer), resolve());
        signal.addEventListener("abort", wake, { once: true });
        addEventListener("online", wake, { once: true });
    });
}
