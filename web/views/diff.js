// What an edit changes, line by line.

import { html } from "../vendor/preact.js";

const MOST_LINES = 600;
const MOST_ROWS = 1000;

/** Return lines as `[sign, text]`; sign is " ", "-" or "+". Texts too long to compare are shown as replaced. */
export function diffLines(before, after) {
    const a = before.split("\n");
    const b = after.split("\n");
    let start = 0;
    while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
    let end = 0;
    while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
    const middleA = a.slice(start, a.length - end);
    const middleB = b.slice(start, b.length - end);
    const same = (lines) => lines.map((line) => [" ", line]);
    const middle =
        middleA.length > MOST_LINES || middleB.length > MOST_LINES
            ? [...middleA.map((line) => ["-", line]), ...middleB.map((line) => ["+", line])]
            : compare(middleA, middleB);
    return [...same(a.slice(0, start)), ...middle, ...same(a.slice(a.length - end))];
}

/** The longest common lines, the plain way. */
function compare(a, b) {
    const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i -= 1) {
        for (let j = b.length - 1; j >= 0; j -= 1) {
            table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
        }
    }
    const lines = [];
    let i = 0;
    let j = 0;
    while (i < a.length || j < b.length) {
        if (i < a.length && j < b.length && a[i] === b[j]) lines.push([" ", a[i]]), (i += 1), (j += 1);
        else if (i < a.length && (j >= b.length || table[i + 1][j] >= table[i][j + 1])) lines.push(["-", a[i]]), (i += 1);
        else lines.push(["+", b[j]]), (j += 1);
    }
    return lines;
}

/** Only what changed, with two lines around it. */
export function shorten(lines) {
    const near = lines.map((_, index) => lines.slice(Math.max(0, index - 2), index + 3).some(([sign]) => sign !== " "));
    const kept = [];
    lines.forEach((line, index) => {
        if (near[index]) kept.push(line);
        else if (kept.length && kept[kept.length - 1][0] !== "…") kept.push(["…", ""]);
    });
    return kept.length > MOST_ROWS ? [...kept.slice(0, MOST_ROWS), ["…", `and ${kept.length - MOST_ROWS} more lines`]] : kept;
}

const asText = (value) => (typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value, null, 2));
const WORDS = { "-": "removed: ", "+": "added: " };

/** Lines with their signs. */
export const DiffLines = ({ lines, label }) => html`
    <div class="diff-lines" tabindex="0" role="region" aria-label=${label}>
        ${lines.map(
            ([sign, line], index) => html`<div key=${index} class=${`diff-line ${sign === "+" ? "is-added" : sign === "-" ? "is-removed" : ""}`}><span aria-hidden="true">${sign}</span>${WORDS[sign] && html`<span class="sr">${WORDS[sign]}</span>`}<code>${line}</code></div>`,
        )}
    </div>`;

/** The changes of several arguments: `[{argument, before, after}]`. */
export const Diff = ({ changes }) => html`
    <div class="diff" role="group" aria-label="Your changes">
        <p class="diff-title" aria-hidden="true">Your changes</p>
        ${changes.map(
            ({ argument, before, after }) => html`
                <p class="tool-label" key=${`${argument}:name`}><code>${argument}</code></p>
                <${DiffLines} key=${argument} lines=${shorten(diffLines(asText(before), asText(after)))} label=${`Changes of ${argument}`} />`,
        )}
    </div>`;
