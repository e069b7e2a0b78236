// The way in where the server wants to know who asks: a key is sent once, and a cookie stands for it.

import { at, problemOf } from "../api.js";
import { door, enter } from "../house.js";
import { Mark } from "../icons.js";
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { Failure } from "./states.js";

export function SignInView() {
    const [key, setKey] = useState("");
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState(null);
    const field = useRef(null);
    useEffect(() => {
        document.title = "Sign in · Signalbox";
        field.current.focus();
    }, []);
    const submit = async (event) => {
        event.preventDefault();
        setBusy(true);
        setProblem(null);
        try {
            const response = await fetch(at("/session"), {
                method: "POST",
                headers: { "content-type": "application/json", accept: "application/json" },
                body: JSON.stringify({ api_key: key.trim() }),
            });
            if (!response.ok) throw await problemOf(response);
            setKey("");
            await enter();
        } catch (error) {
            setProblem(error.title ? error : { title: "The server cannot be reached", detail: "Check that it runs, then try again." });
            field.current?.focus();
        }
        setBusy(false);
    };
    const closed = door.value.problem;
    const refused = closed?.status === 403 ? closed : null;
    return html`
        <main id="main" class="sign-in">
            <p class="brand"><${Mark} /> Signalbox</p>
            <h1>Sign in</h1>
            <p>This server wants to know who asks. Paste your API key; it begins with <code>sbx_</code>.</p>
            <form onSubmit=${submit}>
                <input class="sr" type="text" name="username" autocomplete="username" value="signalbox" readonly tabindex="-1" aria-hidden="true" />
                <label for="password">API key</label>
                <input ref=${field} id="password" name="password" type="password" autocomplete="current-password" required spellcheck=${false} autocapitalize="off" value=${key} onInput=${(event) => setKey(event.target.value)} />
                <button class="button primary" disabled=${busy || !key.trim()}>${busy ? "Signing in…" : "Sign in"}</button>
            </form>
            ${(problem ?? refused) && html`<${Failure} problem=${problem ?? refused} />`}
            <details>
                <summary>What is a key, and where do I get one?</summary>
                <p>A key says who you are and what you may do. Whoever runs the server makes one with this command, which shows it once:</p>
                <pre tabindex="0">signalbox keys create --name "My browser" --scope runs:read --scope runs:write --scope approvals:decide</pre>
                <p>The page sends the key once. The server answers with a cookie that no script can read and no other site can use.</p>
            </details>
        </main>`;
}
