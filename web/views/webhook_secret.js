// What the receiver of a webhook needs to know that a message is genuine: the server says it to the first who names it, and never again.

import { told } from "../house.js";
import { html } from "../vendor/preact.js";
import { Copy } from "./answer.js";

/** Beside the run that named the receiver, until somebody has it or the page is loaded again. */
export function WebhookSecret({ runId }) {
    if (told.value?.runId !== runId) return null;
    const { url, secret } = told.value;
    return html`
        <section class="notice" aria-label="The webhook's secret">
            <p><strong>Copy this secret now: it is not shown again.</strong> This run reports to ${url.split("?")[0]}, which is new here. With the secret the receiver can tell that a message is genuine.</p>
            <p class="row"><code>${secret}</code> <${Copy} text=${secret} what="the secret" /><button type="button" class="button small" onClick=${() => (told.value = null)}>I have it</button></p>
        </section>`;
}
