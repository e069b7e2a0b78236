// What model calls have cost: by day, by agent, by model.

import { all, ask } from "../api.js";
import { count, money, named } from "../format.js";
import { go, link, place } from "../router.js";
import { html, useEffect, useState } from "../vendor/preact.js";
import { Page } from "./page.js";
import { Empty, Failure, Skeleton } from "./states.js";

const SPANS = [7, 30, 90];
const WIDTH = 720;
const HEIGHT = 130;
const DAY_MS = 86_400_000;

export function CostsView() {
    const days = SPANS.includes(Number(place.value.query.get("days"))) ? Number(place.value.query.get("days")) : 30;
    const [data, setData] = useState(null);
    const [problem, setProblem] = useState(null);
    const [again, setAgain] = useState(0);
    useEffect(() => {
        const control = new AbortController();
        const from = isoDay(Date.now() - (days - 1) * DAY_MS);
        const rows = (group) => all(`/v1/usage?from=${from}&group_by=${group}&limit=1000`, { signal: control.signal });
        setData(null);
        Promise.all([rows("day"), rows("agent"), rows("model"), ask(`/v1/usage?from=${from}&limit=1`, { signal: control.signal })])
            .then(([byDay, byAgent, byModel, page]) => (setData({ from, byDay, byAgent, byModel, total: page.total }), setProblem(null)))
            .catch((error) => error.name !== "AbortError" && setProblem(error));
        return () => control.abort();
    }, [days, again]);
    return html`
        <${Page} title="Costs" busy=${!data}>
            <header class="page-head row spread">
                <h1>Costs</h1>
                <div class="segments" role="group" aria-label="Time">
                    ${SPANS.map((each) => html`<button key=${each} type="button" class="segment" aria-pressed=${each === days ? "true" : "false"} onClick=${() => go(`/costs?days=${each}`, { replace: true })}>${each} days</button>`)}
                </div>
            </header>
            ${problem && html`<${Failure} problem=${problem} again=${() => setAgain(again + 1)} />`}
            ${!data && !problem && html`<${Skeleton} lines=${2} tall=${true} label="Loading the costs" /><${Skeleton} lines=${6} />`}
            ${data && data.total.calls === 0 && html`<${Empty} title="Nothing was spent in this time."><a class="button" ...${link("/")}>Start a run</a></${Empty}>`}
            ${data && data.total.calls > 0 && html`<${Figures} data=${data} days=${days} />`}
        </${Page}>`;
}

const isoDay = (at) => new Date(at).toISOString().slice(0, 10);

function Figures({ data, days }) {
    const { total } = data;
    return html`
        <dl class="figures">
            <div><dt>Cost</dt><dd>${money(total.cost_usd, total.cost_known)}</dd></div>
            <div><dt>Saved by reuse</dt><dd>${total.cache_savings_usd === null ? "unknown" : money(total.cache_savings_usd)}</dd></div>
            <div><dt>Tokens</dt><dd>${count(total.input_tokens + total.output_tokens)}</dd></div>
            <div><dt>Model calls</dt><dd>${total.calls}</dd></div>
        </dl>
        ${!total.cost_known && html`<p class="notice">The price of at least one model is not known to this server, so sums of money are not either. Set <code>SIGNALBOX_PRICES</code>.</p>`}
        <${Chart} data=${data} days=${days} />
        <div class="two">
            <${Shares} title="By agent" rows=${data.byAgent} name=${(row) => named(row.agent)} />
            <${Shares} title="By model" rows=${data.byModel} name=${(row) => row.model} />
        </div>`;
}

/** Bars by day: money where prices are known and something cost, or else tokens. */
function Chart({ data, days }) {
    const inMoney = data.total.cost_known && Number(data.total.cost_usd) > 0;
    const valueOf = (row) => (inMoney ? Number(row?.cost_usd ?? 0) : (row?.input_tokens ?? 0) + (row?.output_tokens ?? 0));
    const byDay = new Map(data.byDay.map((row) => [row.day, row]));
    const list = Array.from({ length: days }, (_, index) => isoDay(Date.parse(data.from) + index * DAY_MS)).map((day) => ({ day, value: valueOf(byDay.get(day)) }));
    const most = Math.max(...list.map((each) => each.value)) || 1;
    const step = WIDTH / days;
    const words = inMoney ? (value) => money(String(value)) : (value) => `${count(value)} tokens`;
    const best = list.reduce((a, b) => (b.value > a.value ? b : a));
    return html`
        <figure class="card chart">
            <figcaption>${inMoney ? "Cost" : "Tokens"} by day, in UTC</figcaption>
            <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT + 18}`} role="img" aria-label=${`${inMoney ? "Cost" : "Tokens"} by day over ${days} days; the most was ${words(best.value)} on ${best.day}`}>
                ${[0.5, 1].map((part) => html`<line key=${part} class="grid" x1="0" x2=${WIDTH} y1=${HEIGHT - HEIGHT * part * 0.92} y2=${HEIGHT - HEIGHT * part * 0.92} />`)}
                ${list.map((each, index) => {
                    const height = Math.max(each.value ? 2 : 0, (each.value / most) * HEIGHT * 0.92);
                    return html`<rect key=${each.day} class="chart-bar" x=${index * step + step * 0.15} width=${step * 0.7} y=${HEIGHT - height} height=${height} rx="2"><title>${each.day}: ${words(each.value)}</title></rect>`;
                })}
                <line class="base" x1="0" x2=${WIDTH} y1=${HEIGHT} y2=${HEIGHT} />
                <text class="chart-text" x="0" y=${HEIGHT + 14}>${list[0].day}</text>
                <text class="chart-text" x=${WIDTH} y=${HEIGHT + 14} text-anchor="end">${list[list.length - 1].day}</text>
                <text class="chart-text" x="0" y="7">${words(most)}</text>
            </svg>
        </figure>`;
}

function Shares({ title, rows, name }) {
    const tokens = (row) => row.input_tokens + row.output_tokens;
    const sorted = [...rows].sort((a, b) => Number(b.cost_usd ?? 0) - Number(a.cost_usd ?? 0) || tokens(b) - tokens(a));
    return html`
        <section class="card shares">
            <h2>${title}</h2>
            <div class="scroll-x">
                <table>
                    <thead><tr><th scope="col"><span class="sr">${title.slice(3)}</span></th><th scope="col" class="number">Calls</th><th scope="col" class="number">Tokens</th><th scope="col" class="number">Cost</th></tr></thead>
                    <tbody>${sorted.map((row) => html`<tr key=${name(row)}><td>${name(row)}</td><td class="number">${row.calls}</td><td class="number">${count(tokens(row))}</td><td class="number">${money(row.cost_usd, row.cost_known)}</td></tr>`)}</tbody>
                </table>
            </div>
        </section>`;
}
