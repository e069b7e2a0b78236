// Where a run begins: what is to be done, and under which conditions.

import { tint } from "../agents.js";
import { post } from "../api.js";
import { draft, keepDraft } from "../drafts.js";
import { bytes, named } from "../format.js";
import { info, refreshSoon, team, told } from "../house.js";
import { Icon } from "../icons.js";
import { MOD } from "../keys.js";
import { go } from "../router.js";
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { Estimate } from "./estimate.js";
import { fileToBase64, Options, startBody } from "./options.js";
import { Page } from "./page.js";
import { Failure } from "./states.js";

const BOTH = "Compute the mean, growth and trend of 120, 135, 150, 149, 171 and draw a chart; independently, look up what a context manager is in Python";
/** What the planner can do that works where no model is configured. */
const PLANNED = [BOTH, "Write and test a Python function that checks for palindromes", "What is 17% of 2,480?"];
const EXAMPLES = [
    BOTH,
    "Write a Python function that merges overlapping intervals, with tests, and run them",
    "What is the difference between a process and a thread? Answer with sources",
];
const DRAFT = "start";
const BEFORE = "start-before";
const SECRET = "signalbox-webhook-secret";
const MOST_FILES = 20;
const MOST_BYTES = 5 * 1024 * 1024;

export function StartView() {
    const [text, setText] = useState(() => draft(DRAFT));
    const [options, setOptions] = useState({ budget: "", rounds: "", minutes: "", tier: "", mode: "policy", agents: null, webhook: "", fresh: false });
    const [files, setFiles] = useState([]);
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState(null);
    const [before, setBefore] = useState(() => draft(BEFORE));
    const area = useRef(null);
    useEffect(() => area.current?.focus({ preventScroll: true }), []);
    const write = (value) => {
        setText(value);
        keepDraft(DRAFT, value);
    };
    const bringBack = () => {
        write(before);
        setBefore("");
        keepDraft(BEFORE, "");
        area.current.focus();
    };
    const submit = async (event) => {
        event?.preventDefault();
        if (!text.trim() || busy) return;
        setBusy(true);
        setProblem(null);
        try {
            const sent = await Promise.all(files.map(async (file) => ({ name: file.name, content_base64: await fileToBase64(file) })));
            let secret = null;
            const run = await post("/v1/runs", startBody(text, options, sent), { onHead: (headers) => (secret = headers.get(SECRET)) });
            if (secret) told.value = { runId: run.id, url: options.webhook.trim(), secret };
            keepDraft(DRAFT, "");
            refreshSoon();
            go(`/runs/${run.id}`);
        } catch (error) {
            setProblem(error);
            setBusy(false);
        }
    };
    return html`
        <${Page} title="New run">
            <div class="start">
                <h1>What shall be done?</h1>
                <p class="lead">A supervisor sets agents to work on it, side by side. You see who does what, decide what needs you, and get the answer with its sources and files.</p>
                <${Offline} />
                <form class="start-form" onSubmit=${submit}>
                    <div class="start-box">
                        <textarea ref=${area} rows="5" maxlength="32000" aria-label="Task" placeholder="Describe the task. Say what the answer should have." value=${text}
                            onInput=${(event) => write(event.target.value)}
                            onKeyDown=${(event) => event.key === "Enter" && (event.metaKey || event.ctrlKey) && event.target.form.requestSubmit()} />
                        <${Files} files=${files} setFiles=${setFiles} setProblem=${setProblem} />
                        <div class="start-foot">
                            <${Attach} files=${files} setFiles=${setFiles} setProblem=${setProblem} />
                            <button class="button primary" disabled=${busy || !text.trim()}>${busy ? "Starting…" : "Start the run"} <kbd aria-hidden="true">${MOD} Enter</kbd></button>
                        </div>
                    </div>
                    ${before && html`<p class="quiet">Another task was begun here. <button type="button" class="link-button" onClick=${bringBack}>Bring it back</button></p>`}
                    ${problem && html`<${Failure} problem=${problem} />`}
                    <${Estimate} />
                    <${Options} options=${options} setOptions=${setOptions} />
                </form>
                <section aria-labelledby="examples-title">
                    <h2 id="examples-title">Examples: choose one, then start it</h2>
                    <ul class="examples">
                        ${(isOffline() ? PLANNED : EXAMPLES).map((each) => html`<li key=${each}><button type="button" class="example" onClick=${() => (write(each), area.current.focus())}>${each}</button></li>`)}
                    </ul>
                </section>
                <${Team} />
            </div>
        </${Page}>`;
}

const isOffline = () => info.value?.engine === "offline";

function Offline() {
    if (!isOffline()) return null;
    return html`
        <div class="notice">
            <p><strong>No language model is configured.</strong> You can look around all the same: a built-in planner computes, draws charts, runs small programs and looks things up, at no cost. It understands tasks like the examples below, and not much more.</p>
            <p>For real work set <code>OPENAI_API_KEY</code>, or <code>OPENAI_BASE_URL</code> to any OpenAI-compatible server, and start the server again.</p>
        </div>`;
}

function Attach({ files, setFiles, setProblem }) {
    const input = useRef(null);
    const add = (event) => {
        const chosen = [...event.target.files];
        event.target.value = "";
        const large = chosen.find((file) => file.size > MOST_BYTES);
        if (large) return setProblem({ title: `${large.name} is too large`, detail: "A file may have up to 5 MiB. Send a part of it." });
        const names = new Set(chosen.map((file) => file.name));
        const all = [...files.filter((file) => !names.has(file.name)), ...chosen];
        if (all.length > MOST_FILES) return setProblem({ title: "Too many files", detail: `A task may bring up to ${MOST_FILES} files.` });
        setProblem(null);
        return setFiles(all);
    };
    return html`
        <input ref=${input} class="sr" type="file" multiple tabindex="-1" aria-label="Files for the task" onChange=${add} />
        <button type="button" class="button" onClick=${() => input.current.click()}><${Icon} name="attach" /> Attach files</button>`;
}

function Files({ files, setFiles }) {
    if (!files.length) return null;
    return html`
        <ul class="file-chips" aria-label="Attached files">
            ${files.map(
                (file) => html`
                    <li key=${file.name} class="file-chip">
                        <${Icon} name="file" size=${14} /> <span class="clip">${file.name}</span> <span class="quiet">${bytes(file.size)}</span>
                        <button type="button" class="icon-button small" aria-label=${`Leave out ${file.name}`} onClick=${() => setFiles(files.filter((each) => each !== file))}><${Icon} name="close" size=${12} /></button>
                    </li>`,
            )}
        </ul>`;
}

function Team() {
    const agents = (team.value ?? []).filter((each) => each.routable);
    if (!agents.length) return null;
    return html`
        <section aria-labelledby="team-title">
            <h2 id="team-title">The team</h2>
            <ul class="team">
                ${agents.map((agent) => html`<${Member} key=${agent.name} agent=${agent} />`)}
            </ul>
        </section>`;
}

function Member({ agent }) {
    return html`
        <li style=${tint(agent.name)}>
            <span class="initial" aria-hidden="true">${named(agent.name)[0]}</span>
            <div><p class="plan-agent">${named(agent.name)}</p><p class="quiet">${agent.description}</p></div>
        </li>`;
}
