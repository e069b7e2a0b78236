// What every view shares: who is signed in, what the server is, what waits for a person, which runs there were.

import { all, ask, send, serverNow, whenUnauthenticated } from "./api.js";
import { dropDrafts } from "./drafts.js";
import { go } from "./router.js";
import { computed, signal } from "./vendor/preact.js";

const EVERY_MS = 15_000;

export const door = signal({ open: true, problem: null });
export const info = signal(null);
export const team = signal(null);
export const inbox = signal(null);
/** Why it is not known what waits, where nothing could be asked for. */
export const inboxProblem = signal(null);
export const recent = signal(null);
export const now = signal(serverNow());
/** The same in steps that words like "5 min ago" are read in: what only says those is not drawn with every beat. */
export const minute = computed(() => Math.floor(now.value / 10_000) * 10_000);
export const reachable = signal(true);
/** The secret of a webhook that a run has named as the first: `{runId, url, secret}`. */
export const told = signal(null);
/** What a screen reader is told: changes of status, never tokens. */
export const said = signal("");

export const waiting = computed(() => inbox.value?.length ?? 0);
export const has = (feature) => info.value?.features.includes(feature) ?? false;

whenUnauthenticated(close);

/** Show the way in, and keep nothing of what was shown: who comes in next may be somebody else. */
function close(problem) {
    door.value = { open: false, problem };
    for (const each of [info, team, inbox, inboxProblem, recent, told]) each.value = null;
    said.value = "";
    tools = null;
}

const tabs = "BroadcastChannel" in globalThis ? new BroadcastChannel("signalbox") : null;
tabs?.addEventListener("message", ({ data }) => data === "signed-out" && forget());

/** Drop what was begun and not sent, and close the page. */
function forget() {
    dropDrafts();
    close(null);
}

/** Sign out, here and in every other tab; throws where the server has not heard it. */
export async function leave() {
    await send("/session", { method: "DELETE", quiet: true });
    tabs?.postMessage("signed-out");
    forget();
}

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

let refreshing = null;
let wanted = false;

/** Ask again for what waits and what has run: of a slow server once more when it has answered, and not meanwhile. */
export function refresh() {
    wanted = true;
    refreshing ??= lookWhileWanted().finally(() => (refreshing = null));
    return refreshing;
}

async function lookWhileWanted() {
    while (wanted && door.value.open) {
        wanted = false;
        await look();
    }
}

async function look() {
    const [pending, runs] = await Promise.allSettled([
        all("/v1/approvals?status=pending&limit=100"),
        ask("/v1/runs?limit=12"),
    ]);
    if (!door.value.open) return;
    if (pending.value) {
        const before = inbox.value;
        inbox.value = pending.value.reverse();
        notify(inbox.value, before);
    }
    inboxProblem.value = pending.reason ?? null;
    if (runs.value) recent.value = runs.value.data;
    reachable.value = ![pending, runs].some((each) => each.reason?.code === "unreachable");
}

/** Tell a person who looks elsewhere that there is something new to decide, where the browser may. */
function notify(pending, before) {
    const known = new Set((before ?? pending).map((each) => each.id));
    const fresh = pending.filter((each) => !known.has(each.id));
    if (!fresh.length || !document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
    const [first] = fresh;
    try {
        const notice = new Notification("Signalbox needs you", { body: String(first.description ?? "").slice(0, 160), tag: first.id });
        notice.onclick = () => {
            focus();
            go("/inbox");
            notice.close();
        };
    } catch {
        // Some browsers, those of phones, let only a service worker notify.
    }
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
        if (!calm.matches || beats % 4 === 0) now.value = serverNow();
    }, 250);
    setInterval(() => door.value.open && info.value && refresh(), EVERY_MS);
    document.addEventListener("visibilitychange", () => {
        if (!document.hidden && door.value.open && info.value) refresh();
    });
}
