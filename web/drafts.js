// What was begun and not sent, for as long as its tab. Storage may be closed to a page; then it lasts as long as the page.

const PREFIX = "signalbox-draft";

/** What was written before, or "". */
export function draft(name) {
    try {
        return sessionStorage.getItem(`${PREFIX}-${name}`) ?? "";
    } catch {
        return "";
    }
}

/** Keep what is being written; nothing where it is empty. */
export function keepDraft(name, text) {
    try {
        if (text) sessionStorage.setItem(`${PREFIX}-${name}`, text);
        else sessionStorage.removeItem(`${PREFIX}-${name}`);
    } catch {
        // It stays on the page.
    }
}

/** Drop all of it: somebody signs out. */
export function dropDrafts() {
    try {
        for (const name of Object.keys(sessionStorage)) if (name.startsWith(PREFIX)) sessionStorage.removeItem(name);
    } catch {
        // Nothing was kept.
    }
}
