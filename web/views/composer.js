// Below a run: a note to the supervisor while it works, a follow-up in the same thread when it has ended.

import { post } from "../api.js";
import { draft, keepDraft } from "../drafts.js";
import { has, refreshSoon } from "../house.js";
import { go } from "../router.js";
import { isOver } from "../selectors.js";
import { html, useState } from "../vendor/preact.js";
import { Failure } from "./states.js";

export function Composer({ state, runId }) {
    const over = isOver(state);
    if (!over && !has("notes")) return null;
    return html`<${Notes} notes=${state.notes} /><${Form} key=${over ? "follow" : "steer"} over=${over} state=${state} runId=${runId} />`;
}

function Notes({ notes }) {
    if (!notes.length) return null;
    return html`
        <ul class="notes" aria-label="Notes to the supervisor">
            ${notes.map((note) => html`<li key=${note.id}><span>${note.text}</span> <span class="quiet">${note.readInRound === null ? "not read yet" : `read in round ${note.readInRound}`}</span></li>`)}
        </ul>`;
}

function Form({ over, state, runId }) {
    const kept = `${over ? "follow" : "steer"}-${runId}`;
    const [text, setText] = useState(() => draft(kept));
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState(null);
    const write = (value) => {
        setText(value);
        keepDraft(kept, value);
    };
    const submit = async (event) => {
        event?.preventDefault();
        if (!text.trim() || busy) return;
        setBusy(true);
        setProblem(null);
        try {
            if (over) {
                const run = await post("/v1/runs", { task: text, thread_id: state.threadId });
                write("");
                refreshSoon();
                go(`/runs/${run.id}`);
                return;
            }
            await post(`/v1/runs/${runId}/notes`, { text });
            write("");
        } catch (error) {
            setProblem(error);
        }
        setBusy(false);
    };
    const words = over ? "Ask a follow-up in this thread: the agents know what was said" : "Steer the run: this note reaches the supervisor at its next round";
    return html`
        <form class="composer" onSubmit=${submit} aria-label=${over ? "Follow-up" : "Note to the supervisor"}>
            ${problem && html`<${Failure} problem=${problem} />`}
            <div class="composer-row">
                <textarea rows="1" maxlength=${over ? 32000 : 4000} aria-label=${words} placeholder=${words} value=${text}
                    onInput=${(event) => write(event.target.value)}
                    onKeyDown=${(event) => event.key === "Enter" && (event.metaKey || event.ctrlKey) && submit(event)} />
                <button class="button primary" disabled=${busy || !text.trim()}>${over ? "Ask" : "Send"}</button>
            </div>
        </form>`;
}
