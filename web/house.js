// What every view shares: who is signed in, what the server is, what waits for a person, which runs there were.

import { all, ask, whenUnauthenticated } from "./api.js";
import { computed, signal } from "./vendor/preact.js";

const EVERY_MS = 15_000;

export const door = signal({ open: true, problem: null });
export const info = signal(null);
export const team = signal(null);
export const inbox = signal(null);
export const recent = signal(null);
export const now = signal(Date.now());
export const reachable = signal(true);
/** What a screen reader is told: changes of status, never tokens. */
export const said = signal("");

export const waiting = computed(() => inbox.value?.length ?? 0);
export const has = (feature) => info.value?.features.includes(feature) ?? false;

whenUnauthenticated((problem) => (door.value = { open: false, problem }));

let tools = null;

/** The tools by name, with the schemas of their arguments; asked for once. */
export function toolsByName() {
    tools ??= ask("/v1/tools")
        .then((page) => new Map(page.data.map((tool) => [tool.name, tool])))
        .catch((problem) => {
            tools = null;
            throw problem;
        });
    return tools;
}

/** Ask again for what waits and what has run. */
export async function refresh() {
    try {
        const [pending, runs] = await Promise.all([
            all("/v1/approvals?status=pending&limit=100"),
            ask("/v1/runs?limit=12"),
        ]);
        notify(pending);
        inbox.value = pending.reverse();
        recent.value = runs.data;
        reachable.value = true;
    } catch (problem) {
        if (problem.code === "unreachable") reachable.value = false;
        inbox.value ??= [];
        recent.value ??= [];
    }
}

/** Tell a person who looks elsewhere that there is something new to decide, where the browser may. */
function notify(pending) {
    const known = new Set((inbox.value ?? pending).map((each) => each.id));
    const fresh = pending.filter((each) => !known.has(each.id));
    if (!fresh.length || !document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
    const [first] = fresh;
    const notice = new Notification("Signalbox needs you", { body: first.description.slice(0, 160), tag: first.id });
    notice.onclick = () => focus();
}

let soon = null;

/** The same, once for all that asks within a moment. */
export function refreshSoon() {
    soon ??= setTimeout(() => {
        soon = null;
        refresh();
    }, 150);
}

/** Open the page's shared state; called when it is loaded, and when somebody has signed in. */
export async function enter() {
    tools = null;
    try {
        info.value = await ask("/v1/info");
        door.value = { open: true, problem: null };
        team.value = (await ask("/v1/agents")).data;
    } catch (problem) {
        if (problem.status === 401) return;
        if (problem.status === 403) {
            door.value = { open: false, problem };
            return;
        }
        reachable.value = problem.code !== "unreachable";
        setTimeout(enter, 3000);
        return;
    }
    await refresh();
}

const calm = matchMedia("(prefers-reduced-motion: reduce)");
let beats = 0;

/** Begin to look again every so often, and to move the clock. */
export function beginClock() {
    setInterval(() => {
        if (document.hidden) return;
        beats += 1;
        if (!calm.matches || beats % 4 === 0) now.value = Date.now();
    }, 250);
    setInterval(() => door.value.open && info.value && refresh(), EVERY_MS);
    document.addEventListener("visibilitychange", () => {
        if (!document.hidden && door.value.open && info.value) refresh();
    });
}
