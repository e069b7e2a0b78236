// What else a person is asked: whether more may be spent.

import { Icon } from "../icons.js";
import { MOD } from "../keys.js";
import { html, useState } from "../vendor/preact.js";
import { useDecision } from "./deciding.js";
import { Failure } from "./states.js";

const NAMES = { max_cost_usd: "Limit in US dollars", max_tokens: "Limit in tokens" };

/** The limits that were reached, each as a field with the double of it; or finish with what there is. */
export function BudgetBody({ approval, decided }) {
    const state = useDecision(approval, decided);
    const reached = reachedOf(approval.action?.args ?? {});
    const [texts, setTexts] = useState(() => Object.fromEntries(reached.map((each) => [each.key, doubled(each)])));
    const prices = "unknown_prices" in (approval.action?.args ?? {});
    const raise = (event) => {
        event.preventDefault();
        const args = prices ? { unknown_prices: "allow" } : {};
        for (const each of reached) {
            const value = each.limit === "max_tokens" ? Number(texts[each.key]) : texts[each.key].trim();
            const into = each.agent ? ((args.per_agent ??= {})[each.agent] ??= {}) : args;
            into[each.limit] = value;
        }
        state.decide({ type: "edit", edited_action: { name: "raise_budget", args } });
    };
    return html`
        <form class="approval-body" onSubmit=${raise} onKeyDown=${sendsOn(raise)}>
            <div class="fields">
                ${reached.map(
                    (each) => html`
                        <div class="field kind-number" key=${each.key}>
                            <label for=${`${approval.id}-${each.key}`}>${NAMES[each.limit]}${each.agent ? ` of ${each.agent}` : ""} <span class="quiet">was ${each.value}</span></label>
                            <input id=${`${approval.id}-${each.key}`} inputmode="decimal" required value=${texts[each.key]} onInput=${(event) => setTexts({ ...texts, [each.key]: event.target.value })} />
                        </div>`,
                )}
            </div>
            <div class="row approval-actions">
                <button class="button primary" disabled=${state.busy}><${Icon} name="check" /> ${prices ? "Go on without a known price" : "Raise the limit"} <kbd aria-hidden="true">${MOD} Enter</kbd></button>
                <button type="button" class="button" disabled=${state.busy} onClick=${() => state.decide({ type: "reject" })}>Finish with what there is</button>
            </div>
            ${state.problem && html`<${Failure} problem=${state.problem} />`}
        </form>`;
}

function reachedOf(args) {
    const of = (limits, agent = null) =>
        Object.keys(NAMES)
            .filter((limit) => limits[limit] != null)
            .map((limit) => ({ key: `${agent ?? "run"}-${limit}`, agent, limit, value: limits[limit] }));
    return [...of(args), ...Object.entries(args.per_agent ?? {}).flatMap(([agent, limits]) => of(limits, agent))];
}

const doubled = ({ value }) => String(Number((Number(value) * 2).toPrecision(12)));

const sendsOn = (send) => (event) => {
    if (event.key !== "Enter" || !(event.metaKey || event.ctrlKey)) return;
    event.stopPropagation();
    send(event);
};
