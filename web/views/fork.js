// A new run from where this one stood: what was finished by then is kept, the rest is done anew.

import { ask, post } from "../api.js";
import { named } from "../format.js";
import { refreshSoon } from "../house.js";
import { Icon } from "../icons.js";
import { go } from "../router.js";
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { Failure } from "./states.js";

const MOST = 50;

/** A button that opens the dialog. */
export function Fork({ runId, task }) {
    const [open, setOpen] = useState(false);
    return html`
        <button type="button" class="button" title="A new run from a step of this one: what was finished by then is kept" onClick=${() => setOpen(true)}><${Icon} name="fork" /> Fork</button>
        ${open && html`<${ForkDialog} runId=${runId} task=${task} close=${() => setOpen(false)} />`}`;
}

/** The dialog itself, open from the start; `close` is called when it has been closed. */
export function ForkDialog({ runId, task, close }) {
    const dialog = useRef(null);
    const [points, setPoints] = useState([]);
    const [chosen, setChosen] = useState("");
    const [text, setText] = useState(task);
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState(null);
    useEffect(() => {
        dialog.current.showModal();
        ask(`/v1/runs/${runId}/history?limit=${MOST}`)
            .then((page) => setPoints(page.data.filter((each) => each.forkable)))
            .catch(setProblem);
    }, []);
    const submit = async (event) => {
        event.preventDefault();
        setBusy(true);
        setProblem(null);
        const body = {};
        if (chosen) body.checkpoint_id = chosen;
        if (text.trim() && text.trim() !== task.trim()) body.task = text;
        try {
            const run = await post(`/v1/runs/${runId}/fork`, body);
            refreshSoon();
            dialog.current.close();
            go(`/runs/${run.id}`);
        } catch (error) {
            setProblem(error);
            setBusy(false);
        }
    };
    return html`
        <dialog ref=${dialog} class="dialog fork" aria-labelledby="fork-title" onClose=${close}>
            <form onSubmit=${submit}>
                <h2 id="fork-title">Fork this run</h2>
                <p class="quiet">A new run begins where this one stood. What was finished by then is kept; this run stays as it is.</p>
                <label class="option">From
                    <select value=${chosen} onChange=${(event) => setChosen(event.target.value)}>
                        <option value="">the last step at which it can go on</option>
                        ${points.map((each) => html`<option key=${each.checkpoint_id} value=${each.checkpoint_id}>${wordsOf(each)}</option>`)}
                    </select>
                </label>
                <label class="option">Task
                    <textarea rows="5" maxlength="32000" value=${text} onInput=${(event) => setText(event.target.value)} />
                    <span class="hint">With another task the supervisor decides anew, with the results that there are.</span>
                </label>
                ${problem && html`<${Failure} problem=${problem} />`}
                <div class="row">
                    <button class="button primary" disabled=${busy || !text.trim()}>Start the fork</button>
                    <button type="button" class="button" onClick=${() => dialog.current.close()}>Cancel</button>
                </div>
            </form>
        </dialog>`;
}

function wordsOf(point) {
    const done = point.finished.map((each) => named(each.agent)).join(", ");
    const next = point.next.map(named).join(", ");
    return [`step ${point.step}`, `round ${point.round}`, done && `after ${done}`, next && `before ${next}`].filter(Boolean).join(" · ");
}
