// The plan: who was given what, round by round, and how far each is.

import { tint } from "../agents.js";
import { named } from "../format.js";
import { planOf } from "../selectors.js";
import { html } from "../vendor/preact.js";
import { StepMark } from "./status.js";

export function Plan({ state, choose }) {
    const rounds = planOf(state);
    if (!rounds.length) return null;
    return html`
        <section class="plan" aria-label="Plan">
            ${rounds.map(
                (round) => html`
                    <div key=${round.at} class="round">
                        ${rounds.length > 1 && html`<p class="round-name" title=${round.reason}>Round ${round.number}</p>`}
                        <ol class="plan-items">
                            ${round.items.map((item) => html`<li key=${item.key}><${Item} item=${item} choose=${choose} /></li>`)}
                        </ol>
                    </div>`,
            )}
        </section>`;
}

function Item({ item, choose }) {
    const inside = html`
        <${StepMark} status=${item.status} />
        <span class="plan-agent">${named(item.agent)}${item.tier && html` <span class="tag" title="A model above the agent's own">${item.tier}</span>`}</span>
        <span class="plan-task">${item.task}</span>`;
    if (!item.step) return html`<div class="plan-item" style=${tint(item.agent)}>${inside}</div>`;
    return html`<button type="button" class="plan-item" style=${tint(item.agent)} title=${item.task.slice(0, 400)}
        onClick=${() => choose({ kind: "step", key: item.step.key })}>${inside}</button>`;
}
