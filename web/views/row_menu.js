// What can be done with a run of the history without opening it.

import { ask, at, send } from "../api.js";
import { nameOf } from "../exact.js";
import { said } from "../house.js";
import { Icon } from "../icons.js";
import { go } from "../router.js";
import { html, useEffect, useId, useRef, useState } from "../vendor/preact.js";
import { saveAnswer } from "./answer.js";
import { ForkDialog } from "./fork.js";
import { again } from "./run_header.js";
import { Sure } from "./sure.js";

const GAP = 4;

/**
 * A button that opens the menu of a run; `removed` is called with its id when it has been deleted, here or elsewhere,
 * `setProblem` with what went wrong, and with null when something else is begun.
 */
export function RowMenu({ run, removed, setProblem }) {
    const button = useRef(null);
    const box = useRef(null);
    const [doing, setDoing] = useState(null);
    const name = nameOf(run.task, 60);
    const stop = () => {
        setDoing(null);
        requestAnimationFrame(() => button.current?.focus());
    };
    const remove = async () => {
        setDoing("deleting");
        try {
            await send(`/v1/runs/${run.id}`, { method: "DELETE" });
        } catch (problem) {
            if (problem.status !== 404) {
                setProblem(problem);
                return stop();
            }
        }
        said.value = `Deleted: ${name}`;
        const next = neighbour(box.current);
        removed(run.id);
        return requestAnimationFrame(() => document.activeElement === document.body && next.focus());
    };
    /** A download says nothing of a refusal: first it is asked whether the run is still there for whoever asks. */
    const exportRun = async () => {
        await ask(`/v1/runs/${run.id}`);
        download(run.id);
    };
    const saveText = async () => {
        const { id, task, result } = await ask(`/v1/runs/${run.id}`);
        saveAnswer({ id, task, text: result?.output ?? "", citations: result?.citations ?? [] });
    };
    const entries = [
        { name: "Open", icon: "open", act: () => go(`/runs/${run.id}`) },
        run.ended_at && { name: "Run again", icon: "retry", act: () => again(run.task) },
        run.started_at && { name: "Fork…", icon: "fork", act: () => setDoing("fork") },
        { name: "Trace", icon: "list", act: () => go(`/runs/${run.id}/trace`) },
        { name: "Export as JSON", icon: "download", act: exportRun },
        run.result && { name: "Save the answer (Markdown)", icon: "file", act: saveText },
        run.ended_at && { name: "Delete…", icon: "trash", act: () => setDoing("delete") },
    ].filter(Boolean);
    const take = async (entry) => {
        setProblem(null);
        try {
            await entry.act();
        } catch (problem) {
            setProblem(problem);
        }
    };
    const asking = doing === "delete" || doing === "deleting";
    return html`
        <span ref=${box}>
            ${asking
                ? html`<${Sure} small question=${`Delete this run: ${name}?`} yes=${doing === "deleting" ? "Deleting…" : "Delete for good"} no="Keep" act=${remove} keep=${stop} busy=${doing === "deleting"} />`
                : html`<${Menu} entries=${entries} take=${take} button=${button} label=${`Menu of the run: ${name}`} />`}
        </span>
        ${doing === "fork" && html`<${ForkDialog} runId=${run.id} task=${run.task} close=${stop} />`}`;
}

/** Where somebody goes on whose row goes away: the next row with a menu, else the page. */
function neighbour(box) {
    const all = [...document.querySelectorAll(".menu-cell")];
    const here = all.findIndex((each) => each.contains(box));
    const buttons = [all[here + 1], all[here - 1]].map((each) => each?.querySelector("[aria-haspopup]"));
    return buttons.find(Boolean) ?? document.getElementById("main");
}

function download(id) {
    const link = document.createElement("a");
    link.href = at(`/v1/runs/${id}/export`);
    link.download = `${id}.json`;
    link.click();
}

/** Arrows and first letters choose, Enter does it, Escape and whatever is beside it close. */
function Menu({ entries, take, button, label }) {
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
        if (event.key === "Tab") menu.current.hidePopover();
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const all = [...menu.current.children];
        const here = all.indexOf(document.activeElement);
        const byLetter = () => all.findIndex((_, index) => entries[(here + 1 + index) % all.length].name.toLowerCase().startsWith(event.key.toLowerCase()));
        const to = /^[a-z]$/i.test(event.key)
            ? here + 1 + byLetter()
            : { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        all[(to + all.length) % all.length].focus();
    };
    const choose = (entry) => {
        menu.current.hidePopover();
        take(entry);
    };
    return html`
        <button type="button" class="icon-button" ref=${button} popovertarget=${id} aria-haspopup="menu" aria-expanded=${open ? "true" : "false"} aria-label=${label} title="More"><${Icon} name="more" /></button>
        <div ref=${menu} id=${id} popover="auto" class="menu" role="menu" aria-label=${label} onKeyDown=${press} onToggle=${(event) => setOpen(event.newState === "open")}>
            ${entries.map((entry) => html`<button type="button" key=${entry.name} class="menu-entry" role="menuitem" tabindex="-1" onClick=${() => choose(entry)}><${Icon} name=${entry.icon} /> ${entry.name}</button>`)}
        </div>`;
}

/** Put a menu below its button, or above it where there is no room, with their right edges in line. */
function place(menu, button) {
    const at_ = button.getBoundingClientRect();
    const below = at_.bottom + GAP;
    const top = below + menu.offsetHeight <= innerHeight ? below : Math.max(GAP, at_.top - GAP - menu.offsetHeight);
    Object.assign(menu.style, { top: `${top}px`, left: `${Math.max(GAP, at_.right - menu.offsetWidth)}px` });
}
