// How a decision is sent, and how something is said with it.

import { post } from "../api.js";
import { html, useEffect, useRef, useState } from "../vendor/preact.js";

const NEXT_MS = 700;
let settledAt = -NEXT_MS;

/** Sends a decision; what somebody else has decided meanwhile is taken as it is. */
export function useDecision(approval, decided) {
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState(null);
    const [faults, setFaults] = useState({});
    const decide = async (decision) => {
        // What was decided moves away, and the next question to where it was: a second click was not meant for that.
        if (performance.now() - settledAt < NEXT_MS) return undefined;
        setBusy(true);
        setProblem(null);
        setFaults({});
        try {
            const digest = approval.args_digest ? { args_digest: approval.args_digest } : {};
            const next = await post(`/v1/approvals/${approval.id}/decision`, { ...decision, ...digest });
            settledAt = performance.now();
            decided(next);
        } catch (error) {
            setBusy(false);
            if (error.approval && error.approval.status !== "pending") {
                settledAt = performance.now();
                return decided(error.approval);
            }
            const byName = Object.fromEntries(error.errors?.map((each) => [nameIn(each.pointer), each.detail]) ?? []);
            setFaults(byName);
            setProblem(error);
        }
        return undefined;
    };
    return { busy, problem, faults, decide };
}

/** The last part of a JSON pointer. */
const nameIn = (pointer) => pointer.split("/").pop().replaceAll("~1", "/").replaceAll("~0", "~");

export function Said({ label, button, send, back, busy, danger = false, optional = false }) {
    const [text, setText] = useState("");
    const area = useRef(null);
    useEffect(() => area.current.focus(), []);
    const submit = (event) => {
        event.preventDefault();
        if (text.trim() || optional) send(text.trim());
    };
    const press = (event) => {
        if (event.key === "Escape") back();
        if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) submit(event);
    };
    return html`
        <form class="said" onSubmit=${submit} onKeyDown=${press}>
            <label>${label}<textarea ref=${area} rows="3" maxlength="16000" value=${text} onInput=${(event) => setText(event.target.value)} /></label>
            <div class="row">
                <button class=${`button ${danger ? "danger solid" : "primary"}`} disabled=${busy || (!optional && !text.trim())}>${button}</button>
                <button type="button" class="button" onClick=${back}>Back</button>
            </div>
        </form>`;
}
