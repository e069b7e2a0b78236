// Icons as inline SVG, 16 by 16, in the colour of the text. They say nothing that words beside them do not.

import { html } from "./vendor/preact.js";

const PATHS = {
    plus: "M8 3v10M3 8h10",
    inbox: "M2.5 9.5 4 3.5h8l1.5 6M2.5 9.5v3h11v-3M2.5 9.5h3l1 1.5h3l1-1.5h3",
    sliders: "M2.5 5h5.2M11.3 5h2.2M9.5 3.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6ZM2.5 11h2.2M8.3 11h5.2M6.5 9.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6Z",
    search: "M7 2.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4ZM10.2 10.2l3.3 3.3",
    compare: "M2.5 3.5h4v9h-4zM9.5 3.5h4v9h-4z",
    sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6ZM8 1.5v1.6M8 12.9v1.6M1.5 8h1.6M12.9 8h1.6M3.4 3.4l1.1 1.1M11.5 11.5l1.1 1.1M12.6 3.4l-1.1 1.1M4.5 11.5l-1.1 1.1",
    moon: "M13 9.6A5.4 5.4 0 0 1 6.4 3a5.4 5.4 0 1 0 6.6 6.6Z",
    half: "M8 2.2a5.8 5.8 0 1 0 0 11.6 5.8 5.8 0 0 0 0-11.6ZM8 2.2v11.6M10 3v10M12 4.4v7.2",
    stop: "M4.5 4.5h7v7h-7z",
    retry: "M13 8a5 5 0 1 1-1.5-3.6M13 2.5v3h-3",
    fork: "M5 2.5v5a3 3 0 0 0 3 3h5M10.5 8l2.5 2.5-2.5 2.5",
    check: "m3.5 8.5 3 3 6-7",
    close: "m4 4 8 8M12 4l-8 8",
    clock: "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2ZM8 4.8V8l2.2 1.6",
    tool: "M9.5 2.5a3.4 3.4 0 0 0 3.9 4.6L7 13.5 4.5 13 3 11l6.5-6.4Z",
    file: "M4 2h5.2L12 4.8V14H4zM9 2v3h3",
    download: "M8 2.5v7.5M5 7.2l3 3 3-3M3 13h10",
    open: "M6 3H3v10h10v-3M9 3h4v4M13 3 7.5 8.5",
    list: "M5.5 4h8M5.5 8h8M5.5 12h8M2.5 4h.1M2.5 8h.1M2.5 12h.1",
    coin: "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2ZM10 5.8c-.4-.6-1.1-.9-2-.9-1.1 0-2 .5-2 1.5 0 2.2 4 .9 4 3.1 0 1-.9 1.6-2 1.6-.9 0-1.7-.4-2-1M8 3.9v8.2",
    history: "M2.5 8a5.5 5.5 0 1 1 1.6 3.9M2.5 12.2V9.4h2.8M8 5v3.2l2.2 1.3",
    copy: "M5.5 5.5h7.5V13H5.5zM10.5 5.5V3H3v7.5h2.5",
    warn: "M8 2.5 14 13H2zM8 6.5v3M8 11.2v.1",
    attach: "m12.5 7.2-5.2 5.2a3 3 0 0 1-4.2-4.2L8.6 2.7a2 2 0 0 1 2.8 2.8l-5.5 5.4a1 1 0 0 1-1.4-1.4l4.8-4.8",
    chevron: "m5 6.5 3 3 3-3",
    bell: "M4 11V7.2a4 4 0 0 1 8 0V11l1 1.3H3zM6.8 14h2.4",
    trash: "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5M6.8 7v3.6M9.2 7v3.6",
    more: "M3.2 7.6a.4.4 0 1 0 0 .8.4.4 0 0 0 0-.8ZM8 7.6a.4.4 0 1 0 0 .8.4.4 0 0 0 0-.8ZM12.8 7.6a.4.4 0 1 0 0 .8.4.4 0 0 0 0-.8Z",
    key: "M10.5 2.8a2.9 2.9 0 1 0 0 5.8 2.9 2.9 0 0 0 0-5.8ZM8.4 7.6 3 13M4.6 11.4l1.5 1.5",
};

/** An icon by name. */
export const Icon = ({ name, size = 16 }) => html`
    <svg class="icon" width=${size} height=${size} viewBox="0 0 16 16" fill="none" stroke="currentColor"
        stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">
        <path d=${PATHS[name]} />
    </svg>`;

/** The mark of the house: three lanes. */
export const Mark = () => html`
    <svg class="mark" width="18" height="18" viewBox="0 0 18 18" aria-hidden="true" focusable="false">
        <rect x="0" y="1" width="18" height="4" rx="2" class="mark-a" />
        <rect x="7" y="7" width="11" height="4" rx="2" class="mark-b" />
        <rect x="0" y="13" width="13" height="4" rx="2" class="mark-c" />
    </svg>`;
