// What every view may have to say: that it loads, that there is nothing yet, that something went wrong.

import { link } from "../router.js";
import { html, useErrorBoundary } from "../vendor/preact.js";
import { Page } from "./page.js";

/** The shape of what will be there. */
export const Skeleton = ({ lines = 3, tall = false, label = "Loading" }) => html`
    <div class=${`skeleton ${tall ? "tall" : ""}`} role="status" aria-label=${label}>
        ${Array.from({ length: lines }, (_, index) => html`<span key=${index} style=${{ width: `${92 - ((index * 17) % 40)}%` }} />`)}
    </div>`;

/** Nothing yet, and what to do next. */
export const Empty = ({ title, children }) => html`
    <div class="empty"><p class="empty-title">${title}</p><div>${children}</div></div>`;

/** What happened, what to do, and under which id an operator finds it. */
export const Failure = ({ problem, again, children }) => html`
    <div class="failure" role="alert">
        <p class="failure-title">${problem.title}</p>
        ${problem.detail && problem.detail !== problem.title && html`<p>${problem.detail}</p>`}
        ${problem.errors?.length > 0 &&
        html`<ul>${problem.errors.map((each) => html`<li key=${each.pointer}><code>${each.pointer || "/"}</code> ${each.detail}</li>`)}</ul>`}
        ${problem.requestId && html`<p class="quiet">Request <code>${problem.requestId}</code></p>`}
        ${(again || children) && html`<div class="row">${again && html`<button type="button" class="button" onClick=${again}>Try again</button>`}${children}</div>`}
    </div>`;

/** Keeps what cannot be drawn to itself: the rest of the page stays. */
export function Guard({ what = "This part", children }) {
    const [error, again] = useErrorBoundary();
    if (!error) return children;
    return html`<${Failure} again=${again} problem=${{ title: `${what} cannot be shown`, detail: "Something in it is not as this page expects it. The run is not affected, and the trace has all of it." }} />`;
}

/** An address that leads nowhere. */
export const Missing = ({ what = "page" }) => html`
    <${Page} title="Not found">
        <h1>There is no such ${what}</h1>
        <${Empty} title="Perhaps it was deleted, or the address was cut short.">
            <a class="button" ...${link("/")}>Start a run</a> <a class="button" ...${link("/runs")}>Look at the history</a>
        </${Empty}>
    </${Page}>`;
