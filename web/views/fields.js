// Arguments of a call as fields by their schema: a text, a number with its bounds, a choice, a switch; JSON where nothing else fits.

import { isKept, numberOf, parseExact, written } from "../exact.js";
import { html } from "../vendor/preact.js";

const LONG = 70;
const JSON_KIND = (schema) => ({ kind: "json", schema, optional: false });

/**
 * Return what a field is: `{kind, schema, optional}`; kind is text, long, number, choice, switch or json. A value that
 * is not what its schema says is shown as JSON: no field may say anything else than what would run.
 */
export function kindOf(given, value) {
    const schema = given !== null && typeof given === "object" ? given : {};
    const field = bySchema(schema, value);
    return fits(field, value) ? field : JSON_KIND(schema);
}

function bySchema(schema, value) {
    const types = Array.isArray(schema.type) ? schema.type.map((type) => ({ ...schema, type })) : null;
    const options = schema.anyOf ?? schema.oneOf ?? types;
    if (options !== null && options !== undefined) {
        const known = Array.isArray(options) ? options.filter((each) => each !== null && typeof each === "object") : [];
        const real = known.filter((each) => each.type !== "null");
        if (real.length !== 1 || Array.isArray(real[0].type)) return JSON_KIND(schema);
        const field = bySchema({ ...real[0], description: schema.description }, value);
        return { ...field, optional: real.length < known.length };
    }
    if (Array.isArray(schema.enum) && schema.enum.every((each) => typeof each === "string")) return { kind: "choice", schema, optional: false };
    const type = schema.type ?? typeOf(value);
    if (type === "boolean") return { kind: "switch", schema, optional: false };
    if (type === "integer" || type === "number") return { kind: "number", schema: { ...schema, type }, optional: false };
    if (type === "string") {
        const text = typeof value === "string" ? value : "";
        const long = text.length > LONG || /[\r\n]/.test(text) || (schema.maxLength ?? 0) > 4000;
        return { kind: long ? "long" : "text", schema, optional: false };
    }
    return JSON_KIND(schema);
}

const isNumber = (value) => Number.isFinite(value) || (isKept(value) && /^-?\d+$/.test(value.rawJSON));
const typeOf = (value) => (value === undefined ? "string" : isNumber(value) ? "number" : value === null ? "null" : typeof value);

/** Whether a field shows a value as it is. */
function fits({ kind, schema, optional }, value) {
    if (value === undefined || kind === "json") return true;
    if (value === null) return optional && kind !== "switch";
    if (kind === "switch") return typeof value === "boolean";
    if (kind === "number") return isNumber(value);
    return typeof value === "string" && (kind !== "choice" || schema.enum.includes(value));
}

/** What a field shows of a value. */
export function shown(field, value) {
    if (field.kind === "json") return value === undefined ? "" : JSON.stringify(value, null, 2);
    if (field.kind === "switch") return Boolean(value);
    return value === null || value === undefined ? "" : isKept(value) ? value.rawJSON : String(value);
}

/** Return the value of what was written, or throw a sentence. An empty field that may be empty is null. */
export function valueOf(field, text) {
    if (field.kind === "switch") return text;
    if (text === "" && field.optional) return null;
    if (field.kind === "number") {
        const number = Number(text);
        if (text.trim() === "" || !Number.isFinite(number)) throw new Error("A number is needed here.");
        if (field.schema.type === "integer" && !Number.isInteger(number)) throw new Error("A whole number is needed here.");
        return numberOf(text);
    }
    if (field.kind === "json") {
        try {
            return parseExact(text);
        } catch {
            throw new Error("This is not JSON.");
        }
    }
    return text;
}

/** One field with its name. */
export function Field({ id, name, field, text, readOnly, problem, onInput, first, blank = false }) {
    const { schema, kind } = field;
    const open = typeof text === "string" ? written(text) : text;
    const about = typeof schema.description === "string" && schema.description;
    const described = [about && `${id}-about`, open !== text && `${id}-written`, problem && `${id}-problem`].filter(Boolean).join(" ") || undefined;
    const common = { id, "aria-describedby": described, "aria-invalid": problem ? "true" : undefined, "data-first": first ? "" : undefined };
    const write = (event) => onInput(event.target.value);
    const controls = {
        text: () => html`<input ...${common} type="text" spellcheck=${false} autocomplete="off" readonly=${readOnly} value=${text} onInput=${write} />`,
        long: () => html`<textarea ...${common} class="code" spellcheck=${false} autocomplete="off" rows=${rowsOf(text, readOnly)} readonly=${readOnly} value=${text} onInput=${write} />`,
        number: () => html`<input ...${common} type="number" inputmode="decimal" step=${schema.type === "integer" ? 1 : "any"} min=${schema.minimum} max=${schema.maximum} readonly=${readOnly} value=${text} onInput=${write} />`,
        choice: () => html`<select ...${common} disabled=${readOnly} value=${text} onChange=${write}>${blank && html`<option value="">–</option>`}${schema.enum.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select>`,
        switch: () => html`<input ...${common} type="checkbox" class="switch" disabled=${readOnly} checked=${text} onChange=${(event) => onInput(event.target.checked)} />`,
        json: () => html`<textarea ...${common} class="code" spellcheck=${false} rows=${rowsOf(text, readOnly)} readonly=${readOnly} value=${text} onInput=${write} />`,
    };
    return html`
        <div class=${`field kind-${kind}`}>
            <label for=${id}><span class="mono">${written(name)}</span>${kind === "json" && html` <span class="quiet">as JSON</span>`}${field.optional && html` <span class="quiet">may be empty</span>`}</label>
            ${controls[kind]()}
            ${open !== text && html`<div class="written" id=${`${id}-written`}><p>It has characters that cannot be seen. With them written out:</p><pre tabindex="0">${open}</pre></div>`}
            ${about && html`<p class=${readOnly ? "sr" : "hint"} id=${`${id}-about`}>${about}</p>`}
            ${problem && html`<p class="error-text" id=${`${id}-problem`}>${problem}</p>`}
        </div>`;
}

const rowsOf = (text, readOnly) => Math.min(readOnly ? 11 : 20, Math.max(2, String(text).split("\n").length + 1));
