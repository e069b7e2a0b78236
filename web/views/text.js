// Text of a model on the page: whole, or as it grows. While it grows only its last block is parsed again.

import { at } from "../api.js";
import { Growing, render } from "../markdown.js";
import { html, useLayoutEffect, useMemo, useRef } from "../vendor/preact.js";

/** Return how images of a text are found: by the names of the run's files. */
export function imagesOf(artifacts) {
    const byName = new Map();
    for (const each of artifacts) {
        if (!each.media_type.startsWith("image/")) continue;
        byName.set(each.name, each.url);
        byName.set(each.name.slice(each.name.lastIndexOf("/") + 1), each.url);
    }
    return (src) => {
        const name = decodeURIComponentSafe(src.replace(/^\.?\//, "").replace(/^sandbox:\/*/, ""));
        const url = byName.get(name) ?? [...byName.values()].find((each) => src === each);
        return url ? `${at(url)}?inline=true` : null;
    };
}

function decodeURIComponentSafe(text) {
    try {
        return decodeURIComponent(text);
    } catch {
        return text;
    }
}

const MOST_OPEN = 20_000;

/** A text that is whole. */
export function Markdown({ text, options, className = "md" }) {
    const box = useRef(null);
    useLayoutEffect(() => box.current.replaceChildren(render(text, options)), [text, options]);
    return html`<div class=${className} ref=${box} />`;
}

/** A text that grows; when it is `done` it is rendered as a whole, once. */
export function GrowingText({ text, done, options, className = "md" }) {
    const growing = useMemo(() => new Growing(), []);
    if (done) return html`<${Markdown} key="done" text=${text} options=${options} className=${className} />`;
    const { settled, open } = growing.take(text);
    return html`
        <div class=${`${className} growing`} key="growing">
            <${Settled} blocks=${settled} count=${settled.length} options=${options} />
            ${open.length > MOST_OPEN ? html`<pre class="as-it-is" key="long">${open}</pre>` : html`<${Markdown} key="open" text=${open} options=${options} className="block" />`}
        </div>`;
}

/** The blocks that stay as they are: each is parsed when it comes, and never again. */
function Settled({ blocks, count, options }) {
    const box = useRef(null);
    useLayoutEffect(() => {
        const element = box.current;
        while (element.childElementCount > count) element.lastElementChild.remove();
        for (let index = element.childElementCount; index < count; index += 1) {
            const block = document.createElement("div");
            block.className = "block";
            block.append(render(blocks[index], options));
            element.append(block);
        }
    }, [count, blocks]);
    return html`<div class="settled" ref=${box} />`;
}

/** A box that scrolls within itself and stays at its end for whoever is there. */
export function Sticky({ className, label, children, tick }) {
    const box = useRef(null);
    const atEnd = useRef(true);
    useLayoutEffect(() => {
        if (atEnd.current) box.current.scrollTop = box.current.scrollHeight;
    }, [tick]);
    const look = () => {
        const { scrollTop, clientHeight, scrollHeight } = box.current;
        atEnd.current = scrollTop + clientHeight >= scrollHeight - 24;
    };
    return html`<div class=${className} ref=${box} onScroll=${look} tabindex="0" role="region" aria-label=${label}>${children}</div>`;
}
