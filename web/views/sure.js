// Asked once more, where the button was: what cannot be taken back.

import { html, useLayoutEffect, useRef } from "../vendor/preact.js";

/** `yes` does it and has the focus at first, and at first only; `no` and Escape leave all as it is. While `busy` it is under way. */
export function Sure({ question, yes, no, act, keep, busy = false, small = false }) {
    const first = useRef(null);
    useLayoutEffect(() => first.current.focus(), []);
    const press = (event) => {
        if (event.key !== "Escape" || busy) return;
        event.stopPropagation();
        keep();
    };
    const size = small ? "small" : "";
    return html`
        <span class="row confirm" role="group" aria-label=${question} onKeyDown=${press}>
            <button type="button" class=${`button danger solid ${size}`} ref=${first} aria-disabled=${busy ? "true" : undefined} onClick=${() => busy || act()}>${yes}</button>
            <button type="button" class=${`button ${size}`} disabled=${busy} onClick=${keep}>${no}</button>
        </span>`;
}
