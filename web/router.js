// Where the page is: the address as a signal, and links that change it without a load.

import { at, pathOf } from "./api.js";
import { signal } from "./vendor/preact.js";

export const place = signal(read());

function read() {
    const url = new URL(location.href);
    return { path: pathOf(url), query: url.searchParams };
}

addEventListener("popstate", () => (place.value = read()));

/** Go somewhere: a path of the page, with its query. */
export function go(path, { replace = false } = {}) {
    const target = at(path);
    if (target === location.pathname + location.search) return;
    history[replace ? "replaceState" : "pushState"]({}, "", target);
    place.value = read();
    if (!replace) scrollTo(0, 0);
}

/** What a link needs: its address, and to be followed here unless the person wants it elsewhere. */
export const link = (path) => ({
    href: at(path),
    onClick(event) {
        if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        go(path);
    },
});
