#!/bin/sh
# Makes web/vendor anew: what the page is made of that others wrote, one file each, with its licence. For maintainers;
# needs npm and its registry. The versions are those below; nothing of this runs where the page is served.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out="$here/vendor"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm init -y >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts \
    preact@11.2.0 htm@3.1.1 @preact/signals@2.11.4 @preact/signals-core@1.14.5 marked@18.2.1 dompurify@3.5.0 \
    @fontsource-variable/inter@5.3.0 @fontsource-variable/jetbrains-mono@5.3.0
npm install --silent --no-audit --no-fund esbuild@0.28.2

cat >preact.js <<'JS'
import { h, Fragment, render, createRef } from "preact";
import htm from "htm";
export { h, Fragment, render, createRef };
export { useEffect, useLayoutEffect, useMemo, useRef, useState, useCallback, useId, useErrorBoundary } from "preact/hooks";
export { signal, computed, effect, batch, untracked, useSignal, useComputed, useSignalEffect } from "@preact/signals";
export const html = htm.bind(h);
JS
echo 'export { marked, Marked, Lexer } from "marked";' >marked.js
echo 'export { default } from "dompurify";' >dompurify.js

rm -rf "$out"
mkdir -p "$out/licences"
for name in preact marked dompurify; do
    npx esbuild "$name.js" --bundle --minify --format=esm --target=es2022 --legal-comments=none \
        --log-level=error --outfile="$out/$name.js"
done
cp node_modules/@fontsource-variable/inter/files/inter-latin-wght-normal.woff2 "$out/inter.woff2"
cp node_modules/@fontsource-variable/jetbrains-mono/files/jetbrains-mono-latin-wght-normal.woff2 \
    "$out/jetbrains-mono.woff2"
for name in preact htm @preact/signals marked dompurify @fontsource-variable/inter @fontsource-variable/jetbrains-mono; do
    licence=$(find "node_modules/$name" -maxdepth 1 -iname 'LICEN[CS]E*' | sort | head -n 1)
    cp "$licence" "$out/licences/$(echo "$name" | tr -d @ | tr / -).txt"
done

node - "$out" <<'JS'
const fs = require("fs"), path = require("path"), crypto = require("crypto");
const out = process.argv[2];
const made = {
    "preact.js": ["preact", "htm", "@preact/signals", "@preact/signals-core"],
    "marked.js": ["marked"],
    "dompurify.js": ["dompurify"],
    "inter.woff2": ["@fontsource-variable/inter"],
    "jetbrains-mono.woff2": ["@fontsource-variable/jetbrains-mono"],
};
const files = {};
for (const [name, packages] of Object.entries(made)) {
    const bytes = fs.readFileSync(path.join(out, name));
    files[name] = {
        sha256: crypto.createHash("sha256").update(bytes).digest("hex"),
        bytes: bytes.length,
        packages: packages.map((each) => {
            const told = JSON.parse(fs.readFileSync(path.join("node_modules", each, "package.json")));
            return { name: told.name, version: told.version, licence: told.license };
        }),
    };
}
fs.writeFileSync(path.join(out, "VENDOR.json"), JSON.stringify({ made_with: "esbuild 0.28.2", files }, null, 2) + "\n");
JS
