// The thread that a run is part of: the runs before and after it.

import { ask } from "../api.js";
import { link } from "../router.js";
import { html, useEffect, useState } from "../vendor/preact.js";

export function Thread({ threadId, runId }) {
    const [runs, setRuns] = useState([]);
    useEffect(() => {
        const control = new AbortController();
        ask(`/v1/threads/${encodeURIComponent(threadId)}`, { signal: control.signal })
            .then((thread) => setRuns(thread.data))
            .catch(() => {}); // it is a convenience: the run is shown without it
        return () => control.abort();
    }, [threadId, runId]);
    if (runs.length < 2) return null;
    const at = runs.findIndex((run) => run.id === runId);
    return html`
        <span class="thread" role="group" aria-label="Runs of this thread">
            <span>Part ${at + 1} of ${runs.length} in a thread</span>
            ${at > 0 && html`<a ...${link(`/runs/${runs[at - 1].id}`)} title=${runs[at - 1].task.slice(0, 200)}>Before</a>`}
            ${at >= 0 && at < runs.length - 1 && html`<a ...${link(`/runs/${runs[at + 1].id}`)} title=${runs[at + 1].task.slice(0, 200)}>After</a>`}
        </span>`;
}
