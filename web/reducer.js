// What a run looks like after its events: `reduce(state, event)` over `initial()`. Pure, so that a replay, a
// live stream and a test come to the same. A stored event counts once, by its `seq`; docs/events.md has the types.

export const TERMINAL = new Set(["completed", "failed", "cancelled", "incomplete"]);

/** A run of which nothing is known yet. */
export function initial() {
    return {
        seq: 0,
        status: "queued",
        stopReason: null,
        task: "",
        threadId: "",
        attempt: 0,
        createdAt: null,
        startedAt: null,
        endedAt: null,
        lastAt: null,
        idleSince: null,
        rounds: [],
        steps: {},
        order: [],
        bars: [],
        waits: [],
        calls: {},
        messages: {},
        approvals: {},
        artifacts: {},
        usage: null,
        budget: null,
        warnings: [],
        doubts: {},
        notes: [],
        retrying: null,
        cache: null,
        gap: null,
        run: null,
    };
}

/** Fold one event: `{seq, type, ts, agent, path, round, data}`; those without `seq` are not stored. */
export function reduce(state, event) {
    const handle = Object.hasOwn(HANDLERS, event.type) ? HANDLERS[event.type] : null;
    if (event.seq === undefined) return handle ? attempt(() => handle(state, event, event.data ?? {})) ?? state : state;
    if (event.seq <= state.seq) return state;
    const parsed = Date.parse(event.ts);
    const at = Number.isNaN(parsed) ? (state.lastAt ?? 0) : parsed;
    const missing = event.seq > state.seq + 1 && !state.gap;
    const known = {
        ...state,
        seq: event.seq,
        lastAt: Math.max(state.lastAt ?? at, at),
        gap: missing ? { requested: state.seq, earliest: event.seq } : state.gap,
    };
    if (!handle) return known;
    // One that cannot be read, of another version perhaps, is a step that is missing, and not the end of the page.
    return attempt(() => handle(known, { ...event, at }, event.data ?? {})) ?? { ...known, gap: known.gap ?? { requested: state.seq, earliest: event.seq + 1 } };
}

function attempt(action) {
    try {
        return action();
    } catch {
        return null;
    }
}

/** Fold many. */
export const replay = (events, state = initial()) => events.reduce(reduce, state);

/** Where a message belongs: `msg_<round>.<path>.<turn>`. */
export function placeOf(messageId) {
    const found = /^msg_(\d+)\.([^.]+)\.(.*)$/s.exec(messageId);
    return found ? { round: Number(found[1]), path: found[2], turn: found[3] } : { round: 0, path: "", turn: "" };
}

export const keyOf = (round, path) => `${round}:${path}`;

const HANDLERS = {
    "run.created": (state, event, data) => ({
        ...state,
        task: data.task,
        threadId: data.thread_id,
        createdAt: event.at,
    }),
    "run.started": (state, event, data) => ({
        ...state,
        status: "running",
        attempt: data.attempt,
        startedAt: event.at,
        idleSince: event.at,
    }),
    "run.resumed": resume,
    "run.requires_action": (state, event) => ({
        ...state,
        status: "requires_action",
        idleSince: null,
        waits: [...closeWaits(state, event.at), { from: event.at, to: null }],
    }),
    "run.completed": (state, event, data) => end(state, event, data, "completed"),
    "run.failed": (state, event, data) => end(state, event, data, "failed"),
    "run.cancelled": (state, event, data) => end(state, event, data, "cancelled"),
    "run.incomplete": (state, event, data) => end(state, event, data, "incomplete"),
    "supervisor.decision": decide,
    "note.added": (state, event, data) => ({ ...state, notes: [...state.notes, { ...data.note, readInRound: null }] }),
    "agent.started": startStep,
    "agent.completed": (state, event, data) =>
        endStep(state, event, { status: "done", output: data.output, usage: data.usage }),
    "agent.failed": (state, event, data) =>
        endStep(state, event, { status: "failed", error: { code: data.code, detail: data.detail } }),
    "agent.retrying": (state, event, data) =>
        inStep({ ...voidOpen(state), retrying: { agent: event.agent, ...data } }, event, (step) => ({
            ...step,
            retry: data,
        })),
    "message.delta": append,
    "message.snapshot": (state, event, data) =>
        state.messages[data.message_id]?.done ? state : write(state, event, data.message_id, data.text, {}),
    "message.completed": completeMessage,
    "tool.started": (state, event, data) =>
        inStep(putCall(state, event, data, { status: "running", args: data.args, startedAt: event.at }), event, (step) => ({
            ...step,
            calls: addOnce(step.calls, data.call_id),
        })),
    "tool.completed": (state, event, data) =>
        putCall(state, event, data, {
            status: "done",
            summary: data.summary,
            ms: data.duration_ms,
            artifacts: data.artifacts ?? [],
            endedAt: event.at,
        }),
    "tool.failed": (state, event, data) =>
        putCall(state, event, data, { status: "failed", summary: data.detail, endedAt: event.at }),
    "approval.requested": (state, event, data) => askPerson(state, event, data.approval),
    "approval.resolved": (state, event, data) => answerPerson(state, event, data.approval),
    "approval.expired": (state, event, data) => answerPerson(state, event, data.approval),
    "action.in_doubt": (state, event, data) => ({
        ...state,
        doubts: { ...state.doubts, [data.action.id]: { ...data.action, detail: data.detail } },
    }),
    "artifact.created": (state, event, data) => ({
        ...state,
        artifacts: { ...state.artifacts, [data.artifact.name]: data.artifact },
    }),
    "validation.completed": (state, event, data) =>
        addBar(state, event, "validator", {
            kind: "validation",
            verdict: data.verdict,
            reasons: data.reasons ?? [],
            by: data.by,
        }),
    "usage.updated": (state, event, data) => ({ ...state, usage: data.usage }),
    "budget.warning": (state, event, data) => ({
        ...state,
        budget: data.budget,
        warnings: [...state.warnings, { kind: "warning", ...data }],
    }),
    "budget.reached": (state, event, data) => ({
        ...state,
        budget: data.budget,
        warnings: [...state.warnings, { kind: "reached", ...data }],
    }),
    "cache.hit": (state, event, data) =>
        data.kind === "run" ? { ...state, cache: data } : inStep(state, event, (step) => ({ ...step, reused: data })),
    "stream.gap": (state, event, data) => ({
        ...state,
        gap: data,
        seq: Math.max(state.seq, (data.earliest ?? 1) - 1),
    }),
};

function resume(state, event, data) {
    const open = voidOpen(state);
    return {
        ...open,
        status: "running",
        stopReason: null,
        run: null,
        endedAt: null,
        attempt: data.attempt,
        waits: closeWaits(open, event.at),
        idleSince: isBusy(open) ? null : event.at,
    };
}

function end(state, event, data, status) {
    const open = voidOpen(state);
    const steps = mapValues(open.steps, (step) =>
        isOpen(step) ? { ...step, status: "stopped", endedAt: event.at, pauses: closePauses(step, event.at) } : step,
    );
    const approvals = mapValues(open.approvals, (each) =>
        each.status === "pending" ? { ...each, status: "cancelled" } : each,
    );
    const run = data.run ?? null;
    return {
        ...open,
        status,
        steps,
        approvals,
        waits: closeWaits(open, event.at),
        run,
        stopReason: run?.stop_reason ?? null,
        endedAt: event.at,
        idleSince: null,
        usage: run?.usage ?? open.usage,
        budget: run?.budget ?? open.budget,
    };
}

function decide(state, event, data) {
    const assignments = data.assignments ?? [];
    const entry = { round: event.round, reason: data.reason, assignments, at: event.at };
    const barred = addBar(state, event, "supervisor", { kind: "decision", reason: data.reason, assignments });
    const read = new Set(data.notes ?? []);
    const notes = state.notes.map((note) => (read.has(note.id) ? { ...note, readInRound: event.round } : note));
    return { ...barred, notes, rounds: [...barred.rounds, entry] };
}

function startStep(state, event, data) {
    const key = keyOf(event.round, event.path);
    const before = state.steps[key];
    const step = {
        key,
        agent: event.agent,
        path: event.path,
        round: event.round,
        task: String(data.task ?? ""),
        model: data.model ?? null,
        tier: data.tier ?? null,
        status: "running",
        startedAt: before?.startedAt ?? event.at,
        endedAt: null,
        calls: before?.calls ?? [],
        messages: before?.messages ?? [],
        pauses: before?.pauses ?? [],
        output: null,
        error: null,
        usage: null,
        retry: null,
        reused: before?.reused ?? null,
    };
    return {
        ...state,
        steps: { ...state.steps, [key]: step },
        order: addOnce(state.order, key),
        idleSince: null,
    };
}

function endStep(state, event, change) {
    const known = state.steps[keyOf(event.round, event.path)]
        ? state
        : startStep(state, event, { task: "", model: null, tier: null });
    const next = inStep(known, event, (step) => ({
        ...step,
        ...change,
        retry: null,
        endedAt: event.at,
        pauses: closePauses(step, event.at),
    }));
    return isBusy(next) ? next : { ...next, idleSince: event.at };
}

function append(state, event, data) {
    const message = state.messages[data.message_id];
    if (message?.done) return state;
    const text = message?.text ?? "";
    // Without a hole and without saying anything twice; what does not fit is sent again as a snapshot.
    if (data.offset > text.length) return state;
    return write(state, event, data.message_id, text.slice(0, data.offset) + data.text, {});
}

function completeMessage(state, event, data) {
    const written = write(state, event, data.message_id, data.text, { done: true, at: event.at });
    const { path } = placeOf(data.message_id);
    return path === "supervisor" ? addBar(written, event, "supervisor", { kind: "answer" }) : written;
}

function write(state, event, id, text, more) {
    const { round, path } = placeOf(id);
    const before = state.messages[id];
    const message = { id, agent: event.agent, round, path, done: false, at: null, ...before, ...more, text };
    const next = { ...state, messages: { ...state.messages, [id]: message } };
    const step = state.steps[keyOf(round, path)];
    if (!step) return next;
    if (step.messages.includes(id) && !step.retry) return next;
    const changed = { ...step, messages: addOnce(step.messages, id), retry: null };
    return { ...next, steps: { ...state.steps, [step.key]: changed } };
}

function askPerson(state, event, approval) {
    const asked = {
        ...state,
        approvals: {
            ...state.approvals,
            [approval.id]: { ...approval, step: keyOf(event.round, event.path), askedAt: event.at },
        },
    };
    return inStep(asked, event, (step) => ({
        ...step,
        status: "waiting",
        pauses: [...closePauses(step, event.at), { from: event.at, to: null, id: approval.id }],
    }));
}

function answerPerson(state, event, approval) {
    const before = state.approvals[approval.id];
    const approvals = { ...state.approvals, [approval.id]: { ...before, ...approval, answeredAt: event.at } };
    return inStep({ ...state, approvals }, event, (step) => {
        const waits = Object.values(approvals).some((each) => each.step === step.key && each.status === "pending");
        if (waits || step.status !== "waiting") return step;
        return { ...step, status: "running", pauses: closePauses(step, event.at) };
    });
}

function addBar(state, event, lane, more) {
    const bar = {
        key: `bar:${event.seq}`,
        lane,
        round: event.round,
        startedAt: Math.min(state.idleSince ?? event.at, event.at),
        endedAt: event.at,
        ...more,
    };
    return { ...state, bars: [...state.bars, bar], idleSince: isBusy(state) ? null : event.at };
}

function putCall(state, event, data, change) {
    const before = state.calls[data.call_id];
    const call = {
        id: data.call_id,
        tool: data.tool,
        agent: event.agent,
        step: keyOf(event.round, event.path),
        args: null,
        summary: null,
        ms: null,
        artifacts: [],
        startedAt: event.at,
        endedAt: null,
        ...before,
        ...change,
    };
    return { ...state, calls: { ...state.calls, [data.call_id]: call } };
}

/** Drop the messages that are not whole: after a retry and a crash they are void, and so they are at the end. */
function voidOpen(state) {
    const open = Object.values(state.messages).filter((message) => !message.done);
    if (!open.length) return { ...state, retrying: null };
    const gone = new Set(open.map((message) => message.id));
    const messages = Object.fromEntries(Object.entries(state.messages).filter(([id]) => !gone.has(id)));
    const steps = mapValues(state.steps, (step) =>
        step.messages.some((id) => gone.has(id))
            ? { ...step, messages: step.messages.filter((id) => !gone.has(id)) }
            : step,
    );
    return { ...state, messages, steps, retrying: null };
}

function inStep(state, event, change) {
    const step = state.steps[keyOf(event.round, event.path)];
    return step ? { ...state, steps: { ...state.steps, [step.key]: change(step) } } : state;
}

const isOpen = (step) => step.status === "running" || step.status === "waiting";
const isBusy = (state) => Object.values(state.steps).some(isOpen);
const addOnce = (list, item) => (list.includes(item) ? list : [...list, item]);
const mapValues = (object, change) => Object.fromEntries(Object.entries(object).map(([k, v]) => [k, change(v)]));
const closeWaits = (state, at) => state.waits.map((wait) => (wait.to === null ? { ...wait, to: at } : wait));
const closePauses = (step, at) => step.pauses.map((pause) => (pause.to === null ? { ...pause, to: at } : pause));
