// Text of models as safe DOM: Markdown, then only harmless elements. Nothing in it loads anything: an image is shown
// only where it is a file of the run, since an address that a model makes up could carry away what it has read.

import DOMPurify from "./vendor/dompurify.js";
import { Lexer, Marked } from "./vendor/marked.js";

/** How much was parsed; tests see here that a long stream does not parse everything again and again. */
export const stats = { parses: 0, characters: 0 };

// Tags of a model's own are shown as what they are, text; but for those that only say how a word looks.
const PLAIN_TAG = /^<\/?(?:b|br|del|em|i|kbd|s|strong|sub|sup)\s*\/?>$/i;
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text) => text.replace(/[&<>"']/g, (character) => ENTITIES[character]);

const marked = new Marked({
    gfm: true,
    breaks: false,
    async: false,
    renderer: {
        html({ text, block }) {
            if (PLAIN_TAG.test(text.trim())) return text;
            return block ? `<p>${escaped(text.trim())}</p>\n` : escaped(text);
        },
    },
});

const MOST = 200_000; // characters: more than any model answers with
const LONG = 2000;
const MOST_MARKS = 1500;

/** Reads no emphasis in a paragraph that is made of little else: that takes a time that grows with its square. */
class Patient extends Lexer {
    inlineTokens(text, tokens = []) {
        if (text.length < LONG || (text.match(/[*_~<[\]()`\\@]/g)?.length ?? 0) < MOST_MARKS) return super.inlineTokens(text, tokens);
        tokens.push({ type: "text", raw: text, text, escaped: false });
        return tokens;
    }
}

/** Return the HTML of a text, or nothing where it is nested deeper than can be read. */
function htmlOf(text) {
    try {
        return marked.parser(new Patient(marked.defaults).lex(text));
    } catch {
        return null;
    }
}

/** The text as it is. */
function plain(text) {
    const block = document.createElement("pre");
    block.className = "as-it-is";
    block.tabIndex = 0;
    block.textContent = text;
    const fragment = document.createDocumentFragment();
    fragment.append(block);
    return fragment;
}

const TAGS = (
    "a b blockquote br code dd del dl dt em h1 h2 h3 h4 h5 h6 hr i img kbd li ol p pre s strong sub sup " +
    "table tbody td th thead tr ul"
).split(" ");
const KEPT = ["href", "title", "start", "src", "alt", "align", "colspan", "rowspan"];
const SAFE_LINK = /^(?:https?:|mailto:)/i;

/**
 * Return Markdown as a fragment. `imageOf(name)` gives the address of a file of the run, or nothing;
 * `citations` the numbers that become buttons; `level` the heading that the first one becomes.
 */
export function render(text, { imageOf = () => null, citations = null, level = 3 } = {}) {
    stats.parses += 1;
    stats.characters += text.length;
    if (text.length > MOST) {
        const shown = plain(text.slice(0, MOST));
        shown.append(note("image-note", `[${text.length - MOST} more characters are not shown here]`));
        return shown;
    }
    const found = htmlOf(text);
    if (found === null) return plain(text);
    const fragment = DOMPurify.sanitize(found, {
        ALLOWED_TAGS: TAGS,
        ALLOWED_ATTR: KEPT,
        ALLOW_DATA_ATTR: false,
        ALLOW_ARIA_ATTR: false,
        RETURN_DOM_FRAGMENT: true,
    });
    for (const link of fragment.querySelectorAll("a")) keepLink(link);
    for (const image of fragment.querySelectorAll("img")) keepImage(image, imageOf);
    levelHeadings(fragment, level);
    for (const table of fragment.querySelectorAll("table")) wrap(table, "scroll-x");
    for (const block of fragment.querySelectorAll("pre")) block.tabIndex = 0;
    if (citations?.size) markCitations(fragment, citations);
    breakWords(fragment);
    return fragment;
}

/** Say where very long words may be broken: where the browser has to find that out, it takes seconds. */
function breakWords(fragment) {
    const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
    const long = [];
    while (walker.nextNode()) {
        if (/\S{1000}/.test(walker.currentNode.data) && !walker.currentNode.parentElement?.closest("pre")) long.push(walker.currentNode);
    }
    for (const text of long) text.replaceWith(...text.data.match(/.{1,400}/gsu).flatMap((part) => [part, document.createElement("wbr")]));
}

function keepLink(link) {
    const href = link.getAttribute("href") ?? "";
    if (!SAFE_LINK.test(href)) {
        link.removeAttribute("href");
        return;
    }
    link.title = link.href; // where it leads, whatever its words say
    link.target = "_blank";
    link.rel = "noopener noreferrer";
}

function keepImage(image, imageOf) {
    const src = image.getAttribute("src") ?? "";
    const own = imageOf(src);
    if (own) {
        image.src = own;
        image.alt ||= src;
        image.loading = "lazy";
        return;
    }
    image.replaceWith(note("image-note", `[image not loaded: ${image.alt || src || "no name"}]`));
}

function note(className, text) {
    const element = document.createElement("span");
    element.className = className;
    element.textContent = text;
    return element;
}

/** Headings in order, whatever the text begins with: a screen reader meets no gap. */
function levelHeadings(fragment, level) {
    const found = [...fragment.querySelectorAll("h1,h2,h3,h4,h5,h6")];
    const least = Math.min(...found.map((each) => Number(each.tagName[1])));
    let last = level - 1;
    for (const each of found) {
        last = Math.min(6, last + 1, level + Number(each.tagName[1]) - least);
        const heading = document.createElement(`h${last}`);
        heading.append(...each.childNodes);
        each.replaceWith(heading);
    }
}

function wrap(element, className) {
    const box = document.createElement("div");
    box.className = className;
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "Table");
    element.replaceWith(box);
    box.append(element);
}

/** Turn each `[3]` of a known source into a button. */
function markCitations(fragment, citations) {
    const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walker.nextNode()) {
        if (!walker.currentNode.parentElement?.closest("code,pre,a")) texts.push(walker.currentNode);
    }
    for (const text of texts) {
        const parts = text.data.split(/\[(\d{1,3})\]/);
        if (parts.length === 1) continue;
        const nodes = parts.map((part, index) => {
            if (index % 2 === 0) return part;
            return citations.has(Number(part)) ? citeButton(part) : `[${part}]`;
        });
        text.replaceWith(...nodes);
    }
}

function citeButton(number) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "cite";
    button.dataset.cite = number;
    button.setAttribute("aria-label", `Source ${number}`);
    button.textContent = number;
    return button;
}

/** A text that grows, cut into blocks: all but the last one are as they will stay. */
export class Growing {
    constructor() {
        this.blocks = [];
        this.stable = 0;
        this.text = "";
    }

    /** Take the text as it is now; returns the settled blocks and the open rest. */
    take(text) {
        if (!text.startsWith(this.text.slice(0, this.stable))) {
            this.blocks = [];
            this.stable = 0;
        }
        this.text = text;
        for (let end = endOfBlock(text, this.stable); end > 0; end = endOfBlock(text, this.stable)) {
            this.blocks.push(text.slice(this.stable, end));
            this.stable = end;
        }
        return { settled: this.blocks, open: text.slice(this.stable) };
    }
}

/** Return where the block that begins at `from` ends for good, or 0: at a blank line outside of a code fence. */
function endOfBlock(text, from) {
    const open = /^ {0,3}(`{3,}|~{3,})/.exec(text.slice(from, from + 40));
    if (open) {
        const close = new RegExp(`\\n {0,3}${open[1][0]}{${open[1].length},}[ \\t]*\\n`, "g");
        close.lastIndex = from + open[0].length;
        const found = close.exec(text);
        return found ? found.index + found[0].length : 0;
    }
    const blank = text.indexOf("\n\n", from);
    const fence = text.indexOf("\n```", from);
    if (fence >= 0 && (blank < 0 || fence < blank)) return fence + 1;
    if (blank < 0) return 0;
    // What follows may belong to a list that is not over: a list settles as a whole.
    const next = text.slice(blank + 2, blank + 8);
    if (/^ {0,3}(?:[-*+]|\d{1,9}[.)])\s/.test(text.slice(from)) && (next === "" || /^(?: |[-*+\d])/.test(next))) {
        return endOfList(text, from);
    }
    return blank + 2;
}

function endOfList(text, from) {
    const after = /\n\n(?=[^\s\-*+\d])/g;
    after.lastIndex = from;
    const found = after.exec(text);
    return found ? found.index + 2 : 0;
}
