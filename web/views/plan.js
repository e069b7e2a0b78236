// The plan: who was given what, round by round, and how far each is.

import { tint } from "../agents.js";
import { named } from "../format.js";
import { planOf } from "../selectors.js";
import { html } from "../vendor/preact.js";
import { StepMark } from "./status.js";

const FEW = 3;

export function Plan({ state, choose }) {
    const rounds = planOf(state);
    if (!rounds.length) return null;
    const items = rounds.flatMap((round) => round.items.map((item) => ({ ...item, number: rounds.length > 1 ? round.number : null })));
    return html`
        <section class="plan" aria-label="Plan">
            <ol class=${`plan-items ${items.length <= FEW ? "few" : ""}`}>
                ${items.map((item) => html`<li key=${item.key}><${Item} item=${item} choose=${choose} /></li>`)}
            </ol>
        </section>`;
}

function Item({ item, choose }) {
    const inside = html`
        <${StepMark} status=${item.status} />
        <span class="plan-agent">${named(item.agent)}${item.tier && html` <span class="tag" title="A model above the agent's own">${item.tier}</span>`}${item.number && html`<span class="round-of">round ${item.number}</span>`}</span>
        <span class="plan-task">${item.task}</span>`;
    if (!item.step) return html`<div class="plan-item" style=${tint(item.agent)}>${inside}</div>`;
    return html`<button type="button" class="plan-item" style=${tint(item.agent)} title=${item.task.slice(0, 400)}
        onClick=${() => choose({ kind: "step", key: item.step.key })}>${inside}</button>`;
}
