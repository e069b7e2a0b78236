// A question to a person, and room for its answer: a text, or fields by the schema of the document that a graph wants.

import { MOD } from "../keys.js";
import { html, useMemo, useState } from "../vendor/preact.js";
import { useDecision } from "./deciding.js";
import { Field, kindOf, shown, valueOf } from "./fields.js";
import { Failure } from "./states.js";

const MOST_FIELDS = 40;
const SAYS = ["type", "enum", "anyOf", "oneOf"];

export function InputBody({ approval, decided }) {
    const message = approval.response_schema?.properties?.message ?? {};
    const Body = message.contentSchema === undefined ? TextBody : DocumentBody;
    return html`<${Body} approval=${approval} schema=${message.contentSchema} decided=${decided} />`;
}

const sendsOn = (send) => (event) => {
    if (event.key !== "Enter" || !(event.metaKey || event.ctrlKey)) return;
    event.stopPropagation();
    send(event);
};

function TextBody({ approval, decided }) {
    const state = useDecision(approval, decided);
    const [text, setText] = useState("");
    const send = (event) => {
        event.preventDefault();
        if (text.trim() && !state.busy) state.decide({ type: "respond", message: text.trim() });
    };
    return html`
        <form class="approval-body said" onSubmit=${send} onKeyDown=${sendsOn(send)}>
            <label>Your answer
                <textarea rows="3" maxlength="16000" value=${text} onInput=${(event) => setText(event.target.value)} />
            </label>
            <div class="row"><button class="button primary" disabled=${state.busy || !text.trim()}>Answer <kbd aria-hidden="true">${MOD} Enter</kbd></button></div>
            ${state.problem && html`<${Failure} problem=${state.problem} />`}
        </form>`;
}

/** The fields of a document: those of an object, each with whether it is needed; or one for all of it. */
function fieldsOf(schema) {
    const properties = Object.entries(schema?.properties ?? {});
    const whole = schema?.type !== "object" || !properties.length || properties.length > MOST_FIELDS || SAYS.slice(1).some((word) => word in schema);
    if (whole) return [{ name: null, label: "Your answer", field: fieldOf(schema), needed: true, before: own(schema, "default") }];
    const needed = new Set(Array.isArray(schema.required) ? schema.required : []);
    return properties.map(([name, each]) => ({ name, label: name, field: fieldOf(each), needed: needed.has(name), before: own(each, "default") }));
}

const own = (schema, name) => (schema !== null && typeof schema === "object" && Object.hasOwn(schema, name) ? schema[name] : undefined);

function fieldOf(schema) {
    const known = schema !== null && typeof schema === "object" && SAYS.some((word) => word in schema);
    return known ? kindOf(schema, own(schema, "default")) : { kind: "json", schema: schema === true ? {} : (schema ?? {}), optional: false };
}

function DocumentBody({ approval, schema, decided }) {
    const state = useDecision(approval, decided);
    const fields = useMemo(() => fieldsOf(schema), [approval.id]);
    const [texts, setTexts] = useState(() => fields.map(({ field, before }) => (before === undefined && field.kind === "choice" ? "" : shown(field, before))));
    const [faults, setFaults] = useState([]);
    const send = (event) => {
        event.preventDefault();
        if (state.busy) return;
        const [value, wrong] = read(fields, texts);
        setFaults(wrong);
        if (!wrong.some(Boolean)) state.decide({ type: "respond", message: JSON.stringify(value) });
    };
    return html`
        <form class="approval-body" onSubmit=${send} onKeyDown=${sendsOn(send)} novalidate>
            <div class="fields">
                ${fields.map(
                    ({ label, field, needed }, index) => html`
                        <${Field} key=${index} id=${`${approval.id}-answer-${index}`} name=${label} field=${{ ...field, optional: field.kind !== "switch" && (field.optional || !needed) }} text=${texts[index]}
                            readOnly=${false} blank=${true} problem=${faults[index]} onInput=${(text) => setTexts(texts.map((each, at) => (at === index ? text : each)))} />`,
                )}
            </div>
            <div class="row approval-actions"><button class="button primary" disabled=${state.busy}>Answer <kbd aria-hidden="true">${MOD} Enter</kbd></button></div>
            ${state.problem && html`<${Failure} problem=${state.problem} />`}
        </form>`;
}

/** What was written, and what is wrong with each field; what may be left out and is empty is left out. */
function read(fields, texts) {
    const values = new Map();
    const wrong = fields.map(({ name, field, needed }, index) => {
        if (texts[index] === "" && !needed) return null;
        if (texts[index] === "" && field.kind === "choice") return "Choose one.";
        try {
            values.set(name, valueOf(field, texts[index]));
            return null;
        } catch (error) {
            return error.message;
        }
    });
    return [fields[0].name === null ? values.get(null) : Object.fromEntries(values), wrong];
}
