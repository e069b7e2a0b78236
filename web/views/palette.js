// A field that leads anywhere: to a run by its words or its id, to a page, to a theme. Arrows choose, Enter goes.

import { ask } from "../api.js";
import { nameOf } from "../exact.js";
import { since } from "../format.js";
import { minute, recent, waiting } from "../house.js";
import { Icon } from "../icons.js";
import { go } from "../router.js";
import { choose, THEMES } from "../theme.js";
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { Dot, WORDS } from "./status.js";

const KNOWN = 100;
const MOST_RUNS = 8;
const RUN_ID = /^run_[0-9a-z]+$/;
const THEME_WORDS = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
const THEME_ICONS = { auto: "half", light: "sun", dark: "moon" };

export function Palette({ close, showKeys }) {
    const dialog = useRef(null);
    const list = useRef(null);
    const [words, setWords] = useState("");
    const [at, setAt] = useState(0);
    const runs = useRuns();
    const entries = useMemo(() => entriesOf(words.trim().toLowerCase(), runs, showKeys), [words, runs, waiting.value]);
    const current = Math.min(at, entries.length - 1);
    useEffect(() => dialog.current.showModal(), []);
    useEffect(() => list.current?.children[current]?.scrollIntoView({ block: "nearest" }), [current]);
    const take = (entry) => {
        dialog.current.close();
        entry?.act();
    };
    const press = (event) => {
        const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (way) setAt((current + way + entries.length) % entries.length);
        else if (event.key === "Enter" && !event.isComposing) take(entries[current]);
        else return;
        event.preventDefault();
    };
    return html`
        <dialog ref=${dialog} class="dialog palette" aria-label="Go to" onClose=${close} onClick=${(event) => event.target === dialog.current && dialog.current.close()}>
            <input type="text" role="combobox" aria-label="A run, a page, a theme" aria-expanded="true" aria-controls="palette-list" aria-autocomplete="list"
                aria-activedescendant=${entries.length ? `palette-${current}` : undefined} autocomplete="off" spellcheck=${false}
                placeholder="Words of a task, the id of a run, a page…" value=${words} onKeyDown=${press}
                onInput=${(event) => (setWords(event.target.value), setAt(0))} />
            <ul ref=${list} id="palette-list" role="listbox" aria-label="Where to go">
                ${entries.map(
                    (entry, index) => html`
                        <li key=${entry.key} id=${`palette-${index}`} role="option" aria-selected=${index === current ? "true" : "false"} class="palette-entry"
                            onPointerMove=${() => index !== current && setAt(index)} onClick=${() => take(entry)}>
                            ${entry.status ? html`<${Dot} status=${entry.status} />` : html`<${Icon} name=${entry.icon} />`}
                            <span class="clip">${entry.name}</span>
                            ${entry.note && html`<span class="when">${entry.note}</span>`}
                        </li>`,
                )}
            </ul>
            <p class="palette-foot quiet" aria-hidden="true"><kbd>↑</kbd> <kbd>↓</kbd> choose <kbd>Enter</kbd> go <kbd>Esc</kbd> close</p>
        </dialog>`;
}

/** The newest runs: what the rail has at once, more as soon as it comes. */
function useRuns() {
    const [runs, setRuns] = useState(recent.value ?? []);
    useEffect(() => {
        const control = new AbortController();
        ask(`/v1/runs?limit=${KNOWN}`, { signal: control.signal })
            .then((page) => setRuns(page.data))
            .catch(() => {}); // those of the rail are there, and the history looks through all of them
        return () => control.abort();
    }, []);
    return runs;
}

/** What fits the words: runs first where something is looked for, pages first where nothing is. */
function entriesOf(words, runs, showKeys) {
    const to = (path, name, icon, note = "") => ({ key: path, name, icon, note, act: () => go(path) });
    const parts = words.split(/\s+/).filter(Boolean);
    const fits = (text) => parts.every((part) => text.toLowerCase().includes(part));
    const named = (each) => fits(each.name);
    const pages = [
        to("/", "New run", "plus", "N"),
        to("/inbox", "Approvals", "inbox", waiting.value ? `${waiting.value} waiting` : "G A"),
        to("/runs", "History", "history", "G H"),
        to("/costs", "Costs", "coin", "G C"),
        to("/settings", "Settings", "sliders", "G S"),
    ].filter(named);
    const others = [
        { key: "keys", name: "Keys", icon: "list", note: "?", act: showKeys },
        ...THEMES.map((each) => ({ key: each, name: THEME_WORDS[each], icon: THEME_ICONS[each], act: () => choose(each) })),
    ].filter(named);
    const found = runs
        .filter((run) => fits(`${run.task} ${run.id} ${WORDS[run.status] ?? ""} ${run.tags.join(" ")}`))
        .slice(0, MOST_RUNS)
        .map((run) => ({
            key: run.id,
            name: nameOf(run.task, 120),
            status: run.status,
            note: since(Date.parse(run.created_at), minute.value),
            act: () => go(`/runs/${run.id}`),
        }));
    if (!parts.length) return [...pages, ...found, ...others];
    const byId = RUN_ID.test(words) && !found.length ? [to(`/runs/${words}`, `The run ${words}`, "open")] : [];
    return [...found, ...byId, ...pages, ...others, to(`/runs?q=${encodeURIComponent(words)}`, `Search all runs for “${words}”`, "search")];
}
