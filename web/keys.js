// Keys that do what buttons do. A single letter counts only where nobody writes, and can be turned off in the settings.

import { html, signal, useEffect, useRef } from "./vendor/preact.js";

const KEY = "signalbox-keys";
const WAIT_MS = 900;

const read = () => {
    try {
        return localStorage.getItem(KEY) !== "off";
    } catch {
        return true;
    }
};

export const lettersOn = signal(read());

/** Let single letters do something, or not. */
export function setLetters(on) {
    lettersOn.value = on;
    try {
        localStorage.setItem(KEY, on ? "on" : "off");
    } catch {
        // Storage may be closed to a page; then it holds as long as the page.
    }
}

const writes = (element) =>
    element?.closest?.("input:not([type=checkbox]):not([type=radio]),textarea,select,[contenteditable]") != null;

let prefix = "";
let prefixAt = 0;

/** Whether what waits for a letter `g` has it. */
function sequence(event) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const before = performance.now() - prefixAt < WAIT_MS ? prefix : "";
    return before ? `${before} ${key}` : key;
}

addEventListener(
    "keydown",
    (event) => {
        queueMicrotask(() => {
            prefix = event.key === "g" && !writes(event.target) ? "g" : "";
            prefixAt = performance.now();
        });
    },
    { capture: false },
);

/** A key with Ctrl or ⌘: a letter counts without Shift only, which other programs have. */
const modified = ({ key, shiftKey }) => (key.length > 1 ? `mod+${key}` : shiftKey ? "" : `mod+${key.toLowerCase()}`);

/** Do `actions[key]` when a key is pressed: "n", "g a", "Escape", "mod+Enter", "mod+k". */
export function useKeys(actions) {
    const current = useRef(actions);
    current.current = actions;
    useEffect(() => {
        const press = (event) => {
            if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
            const mod = event.metaKey || event.ctrlKey;
            const name = mod ? modified(event) : event.altKey ? "" : sequence(event);
            const action = current.current[name];
            if (!action) return;
            const letter = !mod && event.key.length === 1;
            if (letter && (!lettersOn.value || writes(event.target))) return;
            event.preventDefault();
            action(event);
        };
        document.addEventListener("keydown", press);
        return () => document.removeEventListener("keydown", press);
    }, []);
}

/** What the key beside letters and Enter is called on this machine. */
export const MOD = /mac|iphone|ipad/i.test(navigator.platform) ? "⌘" : "Ctrl";

const HELP = [
    [`${MOD} + K`, "Go to a run, a page, a theme"],
    ["N", "New run"],
    ["G then A", "Approvals"],
    ["G then H", "History"],
    ["G then C", "Costs"],
    ["G then S", "Settings"],
    ["J / K", "Next and previous step"],
    ["E", "Edit what an agent wants to do"],
    [`${MOD} + Enter`, "Send, or approve"],
    ["Esc", "Close what is open beside the run"],
    ["?", "This list"],
];

/** The list of keys. */
export function KeysHelp({ close }) {
    const dialog = useRef(null);
    useEffect(() => dialog.current.showModal(), []);
    return html`
        <dialog ref=${dialog} class="dialog" aria-labelledby="keys-title" onClose=${close}>
            <h2 id="keys-title">Keys</h2>
            <dl class="keys">${HELP.map(([key, what]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl>
            <form method="dialog"><button class="button primary">Close</button></form>
        </dialog>`;
}
