// Requests to the API of this server. What is refused is thrown as a `Problem`, which views show.

import { parseExact } from "./exact.js";

const root = new URL(document.documentElement.dataset.base ?? "./", location.href).pathname;

/** A path of this server as it is to be asked for: the page may lie below a path of a proxy. */
export const at = (path) => root + path.replace(/^\//, "");

/** The path of an address without what is before the page. */
export const pathOf = (url) => "/" + url.pathname.slice(root.length);

/** An error of the API: RFC 9457, or that the server cannot be reached. */
export class Problem extends Error {
    constructor(body) {
        super(body.detail ?? body.title);
        this.title = body.title;
        this.detail = body.detail ?? "";
        this.status = body.status ?? 0;
        this.code = body.code ?? "unreachable";
        this.requestId = body.request_id ?? null;
        this.errors = body.errors ?? [];
        this.approval = body.approval ?? null;
        this.body = body;
    }
}

const UNREACHABLE = {
    title: "The server cannot be reached",
    detail: "Nothing came back. Check that it runs and that you are online; then try again.",
};

let onUnauthenticated = () => {};

/** Say what happens when the server wants to know who asks. */
export function whenUnauthenticated(action) {
    onUnauthenticated = action;
}

/** Read a refusal, whatever form it has. */
export async function problemOf(response) {
    const told = { title: response.statusText || "The request failed", status: response.status };
    const requestId = response.headers.get("x-request-id");
    try {
        return new Problem({ ...told, request_id: requestId, ...(await response.json()) });
    } catch {
        return new Problem({ ...told, request_id: requestId, detail: `The server answered with ${response.status}.` });
    }
}

const UNREADABLE = {
    title: "The answer could not be read",
    detail: "What came back is not what this server says: perhaps something between it and you has answered. Try again.",
    code: "unreadable",
};

const PATIENCE_MS = 60_000;
const LEAST_SKEW_MS = 5000;
let skew = 0;

/** The time as the server has it, which said all the other times: the clock of this machine may be wrong. */
export const serverNow = () => Date.now() + skew;

function heedClock(response) {
    const apart = Date.parse(response.headers.get("date")) - Date.now();
    if (!Number.isNaN(apart)) skew = Math.abs(apart) < LEAST_SKEW_MS ? 0 : apart;
}

/** What ends a request: whoever asked, and for what only reads the time that it may take. */
function endOf(method, signal) {
    if (method !== "GET" || !AbortSignal.any) return signal;
    const late = AbortSignal.timeout(PATIENCE_MS);
    return signal ? AbortSignal.any([signal, late]) : late;
}

/** Send a request; returns the response, throws a `Problem`. */
export async function send(path, { method = "GET", body, headers = {}, signal, quiet = false } = {}) {
    const options = { method, headers: { accept: "application/json", ...headers }, signal: endOf(method, signal), cache: "no-store" };
    if (body !== undefined) {
        options.headers["content-type"] = "application/json";
        options.body = JSON.stringify(body);
    }
    let response;
    try {
        response = await fetch(at(path), options);
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Problem(UNREACHABLE);
    }
    heedClock(response);
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (!quiet) heed(problem);
    throw problem;
}

/** Have somebody sign in where a refusal asks for that. */
export function heed(problem) {
    if (problem.status === 401) onUnauthenticated(problem);
}

/** Send a request and read the JSON of its answer; `exact`: with numbers as they were written. `onHead` gets its headers. */
export async function ask(path, { exact = false, onHead, ...options } = {}) {
    const response = await send(path, options);
    onHead?.(response.headers);
    if (response.status === 204) return null;
    try {
        return exact ? parseExact(await response.text()) : await response.json();
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Problem(error.name === "SyntaxError" ? UNREADABLE : UNREACHABLE);
    }
}

const MOST_OPEN = 50;
const open = new Map();
const newKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (each) => each.toString(16).padStart(8, "0")).join("");

/**
 * Post, so that what is sent twice does its work once. The same while it is under way is the same request; the same
 * again after nobody knows what came of it has the same key.
 */
export function post(path, body = {}, options = {}) {
    const what = `${path} ${JSON.stringify(body)}`;
    const { key = newKey(), running } = open.get(what) ?? {};
    if (running) return running;
    const sent = ask(path, { method: "POST", body, headers: { "idempotency-key": key }, ...options }).then(
        (answer) => (open.delete(what), answer),
        (problem) => {
            const refused = problem.status >= 400 && problem.status < 500 && problem.status !== 429;
            if (refused) open.delete(what);
            else open.set(what, { key });
            throw problem;
        },
    );
    if (open.size >= MOST_OPEN) open.delete(open.keys().next().value);
    open.set(what, { key, running: sent });
    return sent;
}

/** All rows of a list, page after page, up to `most`. */
export async function all(path, { most = 500, name = "cursor", signal } = {}) {
    const rows = [];
    let cursor = null;
    const glue = path.includes("?") ? "&" : "?";
    do {
        const page = await ask(cursor ? `${path}${glue}${name}=${encodeURIComponent(cursor)}` : path, { signal });
        rows.push(...page.data);
        cursor = page.has_more ? page.next_cursor : null;
    } while (cursor && rows.length < most);
    return rows;
}

const EVENTS = "limit=1000";

/** The stored events of a run, all of them: the number of the last one leads to the next page. */
export const eventsOf = (runId, options) => all(`/v1/runs/${runId}/events?${EVENTS}`, { most: 1e6, name: "after", ...options });
