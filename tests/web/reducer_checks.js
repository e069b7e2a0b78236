// What must hold for the page's modules, as one function: run by Node where there is one, else in the browser.
// `load(name)` imports a module of the page; `logs` are real ones: `{stored, live}` for each run, the live ones as a
// stream had them, deltas and all. Returns what does not hold.
async (load, logs) => {
    const { initial, reduce, replay, placeOf } = await load("reducer.js");
    const select = await load("selectors.js");
    const { parser } = await load("stream.js");
    const format = await load("format.js");
    const { diffLines, shorten } = await load("views/diff.js");
    const { kindOf, valueOf, shown } = await load("views/fields.js");
    const { parseTable } = await load("views/artifacts.js");
    const wrong = [];
    const same = (a, b, what) => JSON.stringify(a) === JSON.stringify(b) || wrong.push(`${what}: ${JSON.stringify(a)?.slice(0, 300)} is not ${JSON.stringify(b)?.slice(0, 300)}`);
    const holds = (truth, what) => truth || wrong.push(what);

    for (const { name, stored, live } of logs) {
        const whole = replay(stored);
        same(replay(live), whole, `${name}: live equals replay`);
        same(replay([...stored, ...stored]), whole, `${name}: twice is once`);
        holds(stored.length > 5 && whole.seq === stored[stored.length - 1].seq, `${name}: the log is folded to its end`);
        // Whoever comes back has the events again from somewhere before, whatever had come on the way.
        for (let cut = 0; cut <= live.length; cut += 1) {
            const before = replay(live.slice(0, cut));
            const rest = stored.filter((event) => event.seq > before.seq);
            same(replay(rest, before), whole, `${name}: cut after ${cut}`);
            same(replay(stored, before), whole, `${name}: all again after ${cut}`);
        }
        const frozen = deepFreeze(initial());
        let state = frozen;
        for (const event of live) state = deepFreeze(reduce(state, deepFreeze(event)));
        same(state, whole, `${name}: nothing is changed in place`);
        holds(select.isOver(whole) === (whole.run !== null), `${name}: over means that the run is there`);
    }

    const delta = (id, offset, text) => ({ type: "message.delta", agent: "coder", data: { message_id: id, offset, text } });
    const text = (state) => state.messages["msg_1.coder.0"]?.text;
    const deltas = [delta("msg_1.coder.0", 0, "The mean"), delta("msg_1.coder.0", 8, " is"), delta("msg_1.coder.0", 11, " 135")];
    same(text(replay(deltas)), "The mean is 135", "deltas in order");
    same(text(replay([...deltas, deltas[1]])), "The mean is", "a delta says what is behind it too");
    same(text(replay([deltas[0], deltas[2]])), "The mean", "a hole is not filled with what follows it");
    same(text(replay([...deltas, delta("msg_1.coder.0", 0, "Anew")])), "Anew", "offset 0 begins anew");
    const snapshot = { type: "message.snapshot", agent: "coder", data: { message_id: "msg_1.coder.0", text: "The m" } };
    same(text(replay([...deltas, snapshot, delta("msg_1.coder.0", 5, "ode")])), "The mode", "a snapshot takes the place of what there is");
    const at = (seq, type, data, more) => ({ seq, type, ts: `2026-11-29T12:00:0${seq}Z`, agent: "coder", path: "coder", round: 1, data, ...more });
    const begun = [at(1, "run.created", { task: "x", thread_id: "t" }), at(2, "run.started", { attempt: 1 }), at(3, "agent.started", { task: "y", model: "m", tier: "fast" })];
    const voided = replay([...begun, ...deltas, at(4, "agent.retrying", { reason: "busy", delay_seconds: 2, try: 2 })]);
    same(text(voided), undefined, "a retry voids what is not whole");
    same(voided.steps["1:coder"].messages, [], "and the step does not list it any more");
    same(text(replay([...begun, ...deltas, at(4, "run.resumed", { attempt: 2, cause: "recovery" })])), undefined, "so does a resume");
    same(reduce(voided, { seq: 9, type: "some.thing", ts: "2026-11-29T12:00:09Z", data: {} }).gap, { requested: 4, earliest: 9 }, "a hole in the numbers is a gap");
    same(reduce(initial(), { type: "stream.gap", data: { requested: 0, earliest: 7, latest: 9 } }).seq, 6, "a gap says where the log begins");
    same(placeOf("msg_12.coder#2.a.b"), { round: 12, path: "coder#2", turn: "a.b" }, "where a message belongs");
    const two = replay([...begun, at(4, "agent.started", { task: "z", model: "m", tier: "fast" }, { path: "coder#2" })]);
    same(select.stepsOf(two).map((step) => step.path), ["coder", "coder#2"], "two assignments of one agent are two steps");
    same(select.lanesOf(two, Date.parse("2026-11-29T12:00:09Z")).length, 1, "in one lane");

    const frames = parser();
    same(frames('retry: 2000\n\nid: 1\nevent: a\nda'), [], "half a frame is none");
    same(frames('ta: {"n":1}\n\n: ping\n\ndata: {"n"'), [{ n: 1 }], "a frame is put together");
    same(frames(":2}\n\n"), [{ n: 2 }], "and the next one");

    same([format.duration(6200), format.duration(59_960), format.duration(200_000), format.duration(7_500_000)], ["6.2 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"], "durations");
    same([format.money("0.000912"), format.money("0.013"), format.money("12.4"), format.money("0"), format.money(null), format.money("1", false)], ["$0.00091", "$0.013", "$12.40", "$0.00", "unknown", "unknown"], "money");
    same([format.count(912), format.count(12_040), format.count(1_300_000)], ["912", "12.0 k", "1.3 M"], "tokens");

    same(diffLines("a\nb\nc", "a\nx\nc\nd"), [[" ", "a"], ["-", "b"], ["+", "x"], [" ", "c"], ["+", "d"]], "a difference by lines");
    same(diffLines("same", "same"), [[" ", "same"]], "no difference");
    same(shorten(diffLines([..."abcdefghij"].join("\n"), [..."abcdefghiX"].join("\n"))).map(([sign]) => sign).join(""), "  -+", "only what is near a change");

    same(kindOf({ type: "integer", minimum: 1 }, 5).kind, "number", "an integer is a number");
    same(kindOf({ anyOf: [{ type: "string" }, { type: "null" }] }, null), { kind: "text", schema: { type: "string" }, optional: true }, "what may be null may be empty");
    same(kindOf({ enum: ["GET", "POST"] }, "GET").kind, "choice", "a choice");
    same(kindOf({ type: "string" }, "a\nb").kind, "long", "many lines");
    same(kindOf({ type: "object" }, { a: 1 }).kind, "json", "anything else is JSON");
    same(kindOf(undefined, true).kind, "switch", "without a schema the value says what it is");
    for (const [schema, value] of [[{ type: "integer" }, 3], [{ type: "boolean" }, false], [{ type: "array" }, [1, "a"]], [{ type: "string" }, "x"], [{ anyOf: [{ type: "number" }, { type: "null" }] }, null]]) {
        same(valueOf(kindOf(schema, value), shown(kindOf(schema, value), value)), value, `a value comes back: ${JSON.stringify(schema)}`);
    }
    holds(throws(() => valueOf(kindOf({ type: "integer" }), "1.5")), "an integer has no fraction");
    holds(throws(() => valueOf(kindOf({ type: "number" }), "")), "a number that is needed is not empty");
    holds(throws(() => valueOf(kindOf({ type: "object" }), "{")), "JSON is JSON");

    same(parseTable('a,"b ""x"", y"\r\n1,2\n', ","), [["a", 'b "x", y'], ["1", "2"]], "cells may be quoted");

    // What a hostile or a newer server says: one event that cannot be read is a gap, and never the end.
    for (const bad of ["approval.requested", "artifact.created", "action.in_doubt", "toString", "__proto__", "constructor"]) {
        const after = replay([...begun, at(4, bad, {}), at(5, "message.completed", { message_id: "msg_1.coder.0", text: "after" })]);
        same([after.seq, text(after)], [5, "after"], `what comes after ${bad} is folded`);
    }
    holds(replay([...begun, at(4, "approval.requested", {})]).gap, "what could not be read is told as missing");
    same(replay([{ ...begun[0], ts: "never" }]).createdAt, 0, "a time that is none is a number");
    same([format.money("NaN"), format.money("1e400"), format.count(Number.NaN), format.clock(Number.NaN)], ["unknown", "unknown", "–", ""], "numbers that are none");

    // Arguments of a call: no field says anything else than what would run.
    for (const [schema, value] of [[{ type: "string" }, { rm: 1 }], [{ type: "boolean" }, "false"], [{ enum: ["GET"] }, "DELETE"], [{ type: "integer" }, "abc"], [{ type: "string" }, null], [{ enum: "abc", anyOf: [null] }, "x"], [null, { a: 1 }]]) {
        const field = kindOf(schema, value);
        same([field.kind, JSON.stringify(valueOf(field, shown(field, value)))], ["json", JSON.stringify(value)], `shown as it is: ${JSON.stringify([schema, value])}`);
    }
    same(kindOf({ type: ["string", "null"] }, null).optional, true, "two types, of which one is null");
    same(kindOf({ type: "string" }, "a\rb").kind, "long", "a field of one line would drop what ends lines");
    const { numberOf, written } = await load("exact.js");
    same([numberOf("17"), numberOf("1.5")], [17, 1.5], "numbers");
    same(written("a\u202eb\u200b\r\n\tc\u{e0041}\ufe0f"), "a\\u{202e}b\\u{200b}\\u{000d}\n\tc\\u{e0041}\\u{fe0f}", "what cannot be seen is written out");
    const many = shorten(diffLines("", Array.from({ length: 5000 }, (_, index) => index).join("\n")));
    holds(many.length < 1100 && many[many.length - 1][1].includes("more lines"), "a long difference is cut, and says so");
    return wrong;

    function throws(action) {
        try {
            action();
            return false;
        } catch {
            return true;
        }
    }

    function deepFreeze(value) {
        if (value && typeof value === "object" && !Object.isFrozen(value)) {
            Object.freeze(value);
            Object.values(value).forEach(deepFreeze);
        }
        return value;
    }
}
