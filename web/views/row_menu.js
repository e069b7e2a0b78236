// What can be done with a run of the history without opening it.

import { ask, at, send } from "../api.js";
import { Icon } from "../icons.js";
import { go } from "../router.js";
import { html, useEffect, useId, useRef, useState } from "../vendor/preact.js";
import { saveAnswer } from "./answer.js";
import { ForkDialog } from "./fork.js";
import { again } from "./run_header.js";

const GAP = 4;

/** A button that opens the menu of a run; `removed` is called with its id when it has been deleted. */
export function RowMenu({ run, removed }) {
    const button = useRef(null);
    const [doing, setDoing] = useState(null);
    const [problem, setProblem] = useState(null);
    const stop = () => {
        setDoing(null);
        requestAnimationFrame(() => button.current?.focus());
    };
    const act = (work) => {
        setProblem(null);
        Promise.resolve(work()).catch(setProblem);
    };
    const remove = () =>
        act(async () => {
            setDoing(null);
            await send(`/v1/runs/${run.id}`, { method: "DELETE" });
            removed(run.id);
        });
    const saveText = async () => {
        const { id, task, result } = await ask(`/v1/runs/${run.id}`);
        saveAnswer({ id, task, text: result?.output ?? "", citations: result?.citations ?? [] });
    };
    const entries = [
        { name: "Open", icon: "open", act: () => go(`/runs/${run.id}`) },
        run.ended_at && { name: "Run again", icon: "retry", act: () => again(run.task) },
        run.started_at && { name: "Fork…", icon: "fork", act: () => setDoing("fork") },
        { name: "Trace", icon: "list", act: () => go(`/runs/${run.id}/trace`) },
        { name: "Export as JSON", icon: "download", act: () => download(run.id) },
        run.result && { name: "Save the answer (Markdown)", icon: "file", act: () => act(saveText) },
        run.ended_at && { name: "Delete…", icon: "trash", act: () => setDoing("delete") },
    ].filter(Boolean);
    if (doing === "delete") return html`<span class="row confirm"><button type="button" class="button danger solid small" ref=${(each) => each?.focus()} onClick=${remove}>Delete for good</button><button type="button" class="button small" onClick=${stop}>Keep</button></span>`;
    return html`
        ${problem && html`<span class="error-text" role="alert">${problem.detail || problem.title}</span>`}
        <${Menu} entries=${entries} button=${button} label=${`Menu of the run: ${run.task.slice(0, 60)}`} />
        ${doing === "fork" && html`<${ForkDialog} runId=${run.id} task=${run.task} close=${stop} />`}`;
}

function download(id) {
    const link = document.createElement("a");
    link.href = at(`/v1/runs/${id}/export`);
    link.download = `${id}.json`;
    link.click();
}

/** Arrows choose, Enter does it, Escape and whatever is beside it close. */
function Menu({ entries, button, label }) {
    const menu = useRef(null);
    const id = useId();
    const [open, setOpen] = useState(false);
    useEffect(() => {
        if (!open) return undefined;
        place(menu.current, button.current);
        menu.current.firstElementChild.focus();
        const close = () => menu.current?.hidePopover();
        for (const what of ["scroll", "resize"]) addEventListener(what, close, { passive: true });
        return () => ["scroll", "resize"].forEach((what) => removeEventListener(what, close));
    }, [open]);
    const press = (event) => {
        const all = [...menu.current.children];
        const here = all.indexOf(document.activeElement);
        const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
        if (event.key === "Tab") menu.current.hidePopover();
        if (to === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        all[(to + all.length) % all.length].focus();
    };
    const take = (entry) => {
        menu.current.hidePopover();
        entry.act();
    };
    return html`
        <button type="button" class="icon-button" ref=${button} popovertarget=${id} aria-haspopup="menu" aria-expanded=${open ? "true" : "false"} aria-label=${label} title="More"><${Icon} name="more" /></button>
        <div ref=${menu} id=${id} popover="auto" class="menu" role="menu" aria-label=${label} onKeyDown=${press} onToggle=${(event) => setOpen(event.newState === "open")}>
            ${entries.map((entry) => html`<button type="button" key=${entry.name} class="menu-entry" role="menuitem" tabindex="-1" onClick=${() => take(entry)}><${Icon} name=${entry.icon} /> ${entry.name}</button>`)}
        </div>`;
}

/** Put a menu below its button, or above it where there is no room, with their right edges in line. */
function place(menu, button) {
    const at_ = button.getBoundingClientRect();
    const below = at_.bottom + GAP;
    const top = below + menu.offsetHeight <= innerHeight ? below : Math.max(GAP, at_.top - GAP - menu.offsetHeight);
    Object.assign(menu.style, { top: `${top}px`, left: `${Math.max(GAP, at_.right - menu.offsetWidth)}px` });
}
