// What a run usually takes here, from those that there were: no promise, and nothing is said before there is a history.

import { ask } from "../api.js";
import { info } from "../house.js";
import { duration, limit } from "../format.js";
import { html, useEffect, useState } from "../vendor/preact.js";

const LOOKED = 50;
/** Fewer runs say nothing about the next one. */
const LEAST = 5;

/** A line below the task; nothing while it is not known, and where it cannot be had. */
export function Estimate() {
    const [runs, setRuns] = useState([]);
    const engine = info.value?.engine;
    useEffect(() => {
        const control = new AbortController();
        ask(`/v1/runs?status=completed&limit=${LOOKED}`, { quiet: true, signal: control.signal })
            .then((page) => setRuns(page?.data ?? []))
            .catch(() => {});
        return () => control.abort();
    }, []);
    const usual = usualOf(runs, engine);
    if (!usual) return null;
    const [from, to] = usual.ms.map(Math.round).map(duration);
    return html`<p class="quiet estimate">Runs here usually take ${span(from, to)} and ${costWords(usual)}: the middle half of the last ${usual.count}, waiting not counted.</p>`;
}

/** The quartiles of the runs that worked from nothing with the engine there is: `{count, ms, cost, all}`, `all` whether each cost is known; `null` where there are too few. */
export function usualOf(runs, engine) {
    const like = runs.filter((run) => run.engine === engine && !run.cache && !run.forked_from);
    if (like.length < LEAST) return null;
    const known = like.filter((run) => run.usage.cost_known).map((run) => Number(run.usage.cost_usd));
    return {
        count: like.length,
        ms: quartiles(like.map((run) => run.budget.spent.seconds * 1000)),
        cost: known.length >= LEAST ? quartiles(known) : null,
        all: known.length === like.length,
    };
}

/** The first and the third quartile, each a number that there was. */
function quartiles(numbers) {
    const sorted = [...numbers].sort((one, other) => one - other);
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    return [at(0.25), at(0.75)];
}

function costWords({ cost, all }) {
    if (!cost) return "cost what this server does not know";
    const [from, to] = cost.map((each) => limit(each));
    return `${cost[1] === 0 ? "cost nothing" : `cost ${span(from, to)}`}${all ? "" : " where that is known"}`;
}

const span = (from, to) => (from === to ? from : `${from} to ${to}`);
