// Requests to the API of this server. What is refused is thrown as a `Problem`, which views show.

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

/** Send a request; returns the response, throws a `Problem`. */
export async function send(path, { method = "GET", body, headers = {}, signal, quiet = false } = {}) {
    const options = { method, headers: { accept: "application/json", ...headers }, signal, cache: "no-store" };
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
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (!quiet) heed(problem);
    throw problem;
}

/** Have somebody sign in where a refusal asks for that. */
export function heed(problem) {
    if (problem.status === 401) onUnauthenticated(problem);
}

/** Send a request and read the JSON of its answer. */
export async function ask(path, options) {
    const response = await send(path, options);
    return response.status === 204 ? null : response.json();
}

/** Post with a key of its own, so that a request that is sent twice does its work once. */
export function post(path, body = {}, options = {}) {
    const headers = { "idempotency-key": crypto.randomUUID?.() ?? String(Math.random()).slice(2) };
    return ask(path, { method: "POST", body, headers, ...options });
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
