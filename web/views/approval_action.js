// What an agent wants to run, with its arguments as fields.

import { toolsByName } from "../house.js";
import { Icon } from "../icons.js";
import { MOD, useKeys } from "../keys.js";
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { Said, useDecision } from "./deciding.js";
import { Diff } from "./diff.js";
import { Field, kindOf, shown, valueOf } from "./fields.js";
import { Failure, Skeleton } from "./states.js";

/** The schema of the arguments of the edit that would be taken, where there is one. */
function ownSchema(approval) {
    const edit = (approval.response_schema.oneOf ?? []).find((each) => each.properties?.type?.const === "edit");
    const own = edit?.properties?.edited_action?.properties?.args;
    return own?.properties ? own : null;
}

/** Or else that of the tool. */
async function toolSchema(approval) {
    const tools = await toolsByName().catch(() => new Map());
    return tools.get(approval.tool)?.args_schema ?? { properties: {} };
}

export function ActionBody({ approval, decided, reload }) {
    const [schema, setSchema] = useState(() => ownSchema(approval));
    useEffect(() => {
        if (!schema) toolSchema(approval).then(setSchema);
    }, [approval.id]);
    if (!schema) return html`<${Skeleton} lines=${3} label="Loading the arguments" />`;
    return html`<${ActionForm} approval=${approval} schema=${schema} decided=${decided} reload=${reload} />`;
}

function ActionForm({ approval, schema, decided, reload }) {
    const form = useRef(null);
    const can = (verb) => approval.allowed_decisions.includes(verb);
    const args = approval.action?.args ?? {};
    const fields = useMemo(() => fieldsOf(schema, args), [schema, approval.args_digest]);
    const original = useMemo(() => Object.fromEntries(fields.map(([name, field]) => [name, shown(field, own(args, name))])), [fields]);
    const [texts, setTexts] = useState(original);
    const [editing, setEditing] = useState(false);
    const [mode, setMode] = useState("decide");
    const [remember, setRemember] = useState(false);
    const [faults, setFaults] = useState({});
    const state = useDecision(approval, decided);
    const changes = fields.filter(([name]) => texts[name] !== original[name]).map(([name]) => name);

    const startEditing = () => {
        setEditing(true);
        requestAnimationFrame(() => form.current?.querySelector("[data-first]")?.focus());
    };
    const approve = () => {
        if (state.busy) return;
        const more = remember ? { remember: "run" } : {};
        if (!changes.length) return state.decide({ type: "approve", ...more });
        const [edited, wrong] = read(fields, texts, changes, args);
        setFaults(wrong);
        if (Object.keys(wrong).length) return undefined;
        return state.decide({ type: "edit", edited_action: { name: approval.action.name, args: edited }, ...more });
    };
    useKeys({
        e: () => can("edit") && !editing && document.querySelector(".approval [data-first]") === form.current?.querySelector("[data-first]") && startEditing(),
    });
    const send = (event) => {
        if (event.key !== "Enter" || !(event.metaKey || event.ctrlKey)) return;
        event.preventDefault();
        event.stopPropagation();
        if (mode === "decide") approve();
    };
    const changed = changes.map((name) => ({ argument: name, before: original[name], after: texts[name] }));
    return html`
        <div class="approval-body" ref=${form} onKeyDown=${send}>
            <div class="fields">
                ${fields.map(
                    ([name, field], index) => html`
                        <${Field} key=${name} id=${`${approval.id}-${encodeURIComponent(name)}`} name=${name} field=${field} text=${texts[name]} first=${index === 0}
                            readOnly=${!editing} problem=${own(faults, name) ?? own(state.faults, name)} onInput=${(text) => setTexts({ ...texts, [name]: text })} />`,
                )}
                ${fields.length === 0 && html`<p class="quiet">It has no arguments.</p>`}
            </div>
            ${changes.length > 0 && html`<${Diff} changes=${changed} />`}
            ${mode === "reject" && html`<${Said} label="Why not? The agent reads this" button="Reject and tell the agent" danger=${true} optional=${true} busy=${state.busy}
                send=${(message) => state.decide({ type: "reject", ...(message ? { message } : {}) })} back=${() => setMode("decide")} />`}
            ${mode === "respond" && html`<${Said} label="Your answer, in place of the call: the agent takes it as the result" button="Answer" busy=${state.busy}
                send=${(message) => state.decide({ type: "respond", message })} back=${() => setMode("decide")} />`}
            ${mode === "decide" &&
            html`<div class="row approval-actions">
                <button type="button" class="button primary" disabled=${state.busy} onClick=${approve}>
                    <${Icon} name="check" /> ${changes.length ? "Approve with edits" : "Approve"} <kbd aria-hidden="true">${MOD} Enter</kbd>
                </button>
                ${can("edit") && !editing && fields.length > 0 && html`<button type="button" class="button" onClick=${startEditing}>Edit</button>`}
                ${changes.length > 0 && html`<button type="button" class="button" onClick=${() => setTexts(original)}>Undo the edits</button>`}
                ${can("reject") && html`<button type="button" class="button danger" title="The call is not made; you can tell the agent why" onClick=${() => setMode("reject")}>Reject…</button>`}
                ${can("respond") && html`<button type="button" class="button" title="The call is not made; the agent takes your text as its result" onClick=${() => setMode("respond")}>Answer…</button>`}
                <label class="check-label"><input type="checkbox" checked=${remember} onChange=${(event) => setRemember(event.target.checked)} /> Allow <code>${approval.tool}</code> for the rest of this run</label>
            </div>`}
            ${state.problem && html`<${Failure} problem=${state.problem}>${state.problem.code === "approval-args-changed" && html`<button type="button" class="button" onClick=${reload}>Look at the call as it is now</button>`}</${Failure}>`}
        </div>`;
}

/** What an object has of itself: names of arguments are anybody's, `constructor` too. */
const own = (object, name) => (Object.hasOwn(object, name) ? object[name] : undefined);

/** The fields of a call: those of its schema that it has, then what else it has. */
function fieldsOf(schema, args) {
    const properties = schema.properties ?? {};
    const required = new Set(Array.isArray(schema.required) ? schema.required : []);
    const names = [...new Set([...Object.keys(properties).filter((name) => Object.hasOwn(args, name) || required.has(name)), ...Object.keys(args)])];
    return names.map((name) => [name, kindOf(own(properties, name), own(args, name))]);
}

function read(fields, texts, changes, args) {
    const edited = new Map(Object.entries(args));
    const wrong = {};
    for (const [name, field] of fields) {
        if (!changes.includes(name) && edited.has(name)) continue;
        try {
            const value = valueOf(field, texts[name]);
            if (value !== null || edited.has(name)) edited.set(name, value);
        } catch (error) {
            wrong[name] = error.message;
        }
    }
    return [Object.fromEntries(edited), wrong];
}
