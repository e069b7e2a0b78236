// The frame of a view: its main part, what is beside it, and what the tab is called.

import { waiting } from "../house.js";
import { Fragment, html, useEffect } from "../vendor/preact.js";

/** `title` is what the tab says; `aside` what is shown beside the main part. */
export function Page({ title, wide = false, aside = null, busy = false, children }) {
    const count = waiting.value;
    useEffect(() => {
        document.title = `${count ? `● (${count}) ` : ""}${title} · Signalbox`;
    }, [title, count]);
    return html`<${Fragment}>
        <main id="main" tabindex="-1" class=${wide ? "wide" : ""} aria-busy=${busy ? "true" : undefined}>${children}</main>
        ${aside}
    </${Fragment}>`;
}
