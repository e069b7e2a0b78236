// Arguments of a call as fields by their schema: a text, a number with its bounds, a choice, a switch; JSON where nothing else fits.

import { html } from "../vendor/preact.js";

const LONG = 70;

/** Return what a field is: `{kind, schema, optional}`; kind is text, long, number, choice, switch or json. */
export function kindOf(schema = {}, value = null) {
    const options = schema.anyOf ?? schema.oneOf;
    if (options) {
        const real = options.filter((each) => each.type !== "null");
        if (real.length === 1) {
            return { ...kindOf({ ...real[0], description: schema.description }, value), optional: real.length < options.length };
        }
        return { kind: "json", schema, optional: false };
    }
    if (schema.enum && schema.enum.every((each) => typeof each === "string")) return { kind: "choice", schema, optional: false };
    const type = schema.type ?? (value === null ? "string" : Array.isArray(value) ? "array" : typeof value);
    if (type === "boolean") return { kind: "switch", schema, optional: false };
    if (type === "integer" || type === "number") return { kind: "number", schema: { ...schema, type }, optional: false };
    if (type === "string") {
        const text = typeof value === "string" ? value : "";
        const long = text.length > LONG || text.includes("\n") || (schema.maxLength ?? 0) > 4000;
        return { kind: long ? "long" : "text", schema, optional: false };
    }
    return { kind: "json", schema, optional: false };
}

/** What a field shows of a value. */
export function shown(field, value) {
    if (field.kind === "json") return value === undefined ? "" : JSON.stringify(value, null, 2);
    if (field.kind === "switch") return Boolean(value);
    return value === null || value === undefined ? "" : String(value);
}

/** Return the value of what was written, or throw a sentence. An empty field that may be empty is null. */
export function valueOf(field, text) {
    if (field.kind === "switch") return text;
    if (text === "" && field.optional) return null;
    if (field.kind === "number") {
        const number = Number(text);
        if (text.trim() === "" || Number.isNaN(number)) throw new Error("A number is needed here.");
        if (field.schema.type === "integer" && !Number.isInteger(number)) throw new Error("A whole number is needed here.");
        return number;
    }
    if (field.kind === "json") {
        try {
            return JSON.parse(text);
        } catch {
            throw new Error("This is not JSON.");
        }
    }
    return text;
}

/** One field with its name. */
export function Field({ id, name, field, text, readOnly, problem, onInput, first }) {
    const { schema, kind } = field;
    const described = [schema.description && `${id}-about`, problem && `${id}-problem`].filter(Boolean).join(" ") || undefined;
    const common = { id, "aria-describedby": described, "aria-invalid": problem ? "true" : undefined, "data-first": first ? "" : undefined };
    const write = (event) => onInput(event.target.value);
    const controls = {
        text: () => html`<input ...${common} type="text" spellcheck=${false} autocomplete="off" readonly=${readOnly} value=${text} onInput=${write} />`,
        long: () => html`<textarea ...${common} class="code" spellcheck=${false} autocomplete="off" rows=${rowsOf(text, readOnly)} readonly=${readOnly} value=${text} onInput=${write} />`,
        number: () => html`<input ...${common} type="number" inputmode="decimal" step=${schema.type === "integer" ? 1 : "any"} min=${schema.minimum} max=${schema.maximum} readonly=${readOnly} value=${text} onInput=${write} />`,
        choice: () => html`<select ...${common} disabled=${readOnly} value=${text} onChange=${write}>${schema.enum.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select>`,
        switch: () => html`<input ...${common} type="checkbox" class="switch" disabled=${readOnly} checked=${text} onChange=${(event) => onInput(event.target.checked)} />`,
        json: () => html`<textarea ...${common} class="code" spellcheck=${false} rows=${rowsOf(text, readOnly)} readonly=${readOnly} value=${text} onInput=${write} />`,
    };
    return html`
        <div class=${`field kind-${kind}`}>
            <label for=${id}><span class="mono">${name}</span>${kind === "json" && html` <span class="quiet">as JSON</span>`}${field.optional && html` <span class="quiet">may be empty</span>`}</label>
            ${controls[kind]()}
            ${schema.description && html`<p class=${readOnly ? "sr" : "hint"} id=${`${id}-about`}>${schema.description}</p>`}
            ${problem && html`<p class="error-text" id=${`${id}-problem`}>${problem}</p>`}
        </div>`;
}

const rowsOf = (text, readOnly) => Math.min(readOnly ? 11 : 20, Math.max(2, String(text).split("\n").length + 1));
