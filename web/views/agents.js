// Agents at work, side by side; and the steps that are over, folded.

import { tint } from "../agents.js";
import { count, duration, named, plural } from "../format.js";
import { now } from "../house.js";
import { callsOf, isOver, messagesOf, stepsOf, tokensOf } from "../selectors.js";
import { html, useMemo } from "../vendor/preact.js";
import { StepMark } from "./status.js";
import { GrowingText, Markdown, Sticky } from "./text.js";
import { ToolRow } from "./tools.js";

const CARD = { level: 4 };

const works = (step) => step.status === "running" || step.status === "waiting";

/** One card for each agent that works. */
export function Agents({ state }) {
    const busy = stepsOf(state).filter(works);
    if (!busy.length) return isOver(state) || state.status === "requires_action" ? null : html`<${Deciding} state=${state} />`;
    return html`
        <section class="agents" aria-label="Agents at work">
            <h2 class="sr">Agents at work</h2>
            <div class=${`cards of-${Math.min(3, busy.length)}`}>
                ${busy.map((step) => html`<${AgentCard} key=${step.key} step=${step} state=${state} />`)}
            </div>
        </section>`;
}

function Deciding({ state }) {
    const words = state.status === "queued" ? "Waiting for its turn." : state.order.length ? "The supervisor looks at the results." : "The supervisor decides who works.";
    return html`<p class="deciding" style=${tint("supervisor")}><${StepMark} status=${state.status === "queued" ? "queued" : "running"} /> ${words}</p>`;
}

function AgentCard({ step, state }) {
    const messages = messagesOf(state, step);
    const calls = callsOf(state, step);
    const name = [named(step.agent), /#(\d+)$/.exec(step.path ?? "")?.[1]].filter(Boolean).join(" ");
    const length = messages.reduce((sum, message) => sum + message.text.length, 0);
    return html`
        <article class="card agent-card" style=${tint(step.agent)} data-step=${step.key} aria-label=${`${name} at work`}>
            <header>
                <span class="initial" aria-hidden="true">${named(step.agent)[0]}</span>
                <div class="card-names">
                    <h3>${named(step.agent)}</h3>
                    <p class="clip-2" title=${step.task.slice(0, 400)}>${step.task}</p>
                </div>
                <div class="card-side">
                    ${step.status === "waiting" ? html`<span class="needs">needs you</span>` : html`<${StepMark} status="running" />`}
                    <span class="model" title=${step.model}>${modelName(step.model)}</span>
                </div>
            </header>
            <${Sticky} className="card-text" label=${`What ${name} writes`} tick=${length}>
                ${messages.map((message) => html`<${GrowingText} key=${message.id} text=${message.text} done=${message.done} options=${CARD} />`)}
                ${messages.length === 0 && html`<p class="quiet">${step.status === "waiting" ? "Waits for your decision." : calls.length ? "Works with its tools." : "Thinks."}</p>`}
            </${Sticky}>
            ${step.retry && html`<p class="retrying" role="status">${step.retry.reason} Trying again in ${step.retry.delay_seconds.toFixed(0)} s (try ${step.retry.try}).</p>`}
            ${calls.length > 0 && html`<div class="tools">${calls.map((call) => html`<${ToolRow} key=${call.id} call=${call} />`)}</div>`}
            <footer><${Since} step=${step} /></footer>
        </article>`;
}

const Since = ({ step }) => html`<span>${duration(Math.max(0, now.value - step.startedAt))}</span>`;

/** `openai:gpt-5-mini` is "gpt-5-mini". */
export const modelName = (model) => (model ? model.slice(model.indexOf(":") + 1) : "");

/** The steps that are over. */
export function Finished({ state, choose }) {
    const over = stepsOf(state).filter((step) => !works(step));
    if (!over.length) return null;
    return html`
        <section class="finished" aria-label="Finished steps">
            <details open=${isOver(state) && !state.run?.result?.output}>
                <summary>${plural(over.length, "finished step")}</summary>
                <ol>${over.map((step) => html`<li key=${step.key}><${FinishedStep} step=${step} state=${state} choose=${choose} /></li>`)}</ol>
            </details>
        </section>`;
}

function FinishedStep({ step, state, choose }) {
    const calls = callsOf(state, step);
    const usage = step.usage ? `${count(tokensOf(step.usage))} tokens` : "";
    const facts = [duration(step.endedAt - step.startedAt), usage, step.reused ? "reused" : ""].filter(Boolean);
    return html`
        <details class="card finished-step" style=${tint(step.agent)}>
            <summary>
                <${StepMark} status=${step.status} />
                <span class="plan-agent">${named(step.agent)}</span>
                <span class="clip">${step.task}</span>
                <span class="when">${facts.join(" · ")}</span>
            </summary>
            <div class="finished-body">
                ${step.error && html`<p class="error-text">${step.error.detail}</p>`}
                ${step.output && html`<${Output} text=${step.output} />`}
                ${calls.length > 0 && html`<div class="tools">${calls.map((call) => html`<${ToolRow} key=${call.id} call=${call} />`)}</div>`}
                <button type="button" class="link-button" onClick=${() => choose({ kind: "step", key: step.key })}>Show the details</button>
            </div>
        </details>`;
}

function Output({ text }) {
    const options = useMemo(() => ({ level: 3 }), []);
    return html`<${Markdown} text=${text} options=${options} />`;
}
