// Numbers, money, times and sizes as people read them.

/** Seconds between two moments: "6.2 s", "3 min 20 s", "2 h 5 min". */
export function duration(ms) {
    if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
    const seconds = Math.max(0, ms) / 1000;
    if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
    const whole = Math.round(seconds);
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** A tool call's time: "41 ms", "1.2 s". */
export const millis = (ms) => (ms === null || ms === undefined ? "" : ms < 100 ? `${Math.round(ms)} ms` : duration(ms));

/** Tokens: "912", "12.0 k", "1.3 M". */
export function count(number) {
    if (!Number.isFinite(number)) return "–";
    if (number < 1000) return String(number);
    return number < 999_950 ? `${(number / 1000).toFixed(1)} k` : `${(number / 1e6).toFixed(1)} M`;
}

/** Money from a decimal string; small sums keep their digits: "$0.0009", "$12.40". */
export function money(usd, known = true) {
    if (!known || usd === null || usd === undefined) return "unknown";
    const value = Number(usd);
    if (!Number.isFinite(value)) return "unknown";
    if (value === 0) return "$0.00";
    const places = value >= 1 ? 2 : value >= 0.1 ? 3 : Math.min(8, 1 - Math.floor(Math.log10(value)));
    return `$${value.toFixed(places)}`;
}

/** A limit in money, as people write it: "$0.50", "$5.00". */
export const limit = (usd) => money(usd).replace(/(\.\d\d\d*?)0+$/, "$1");

/** A file's size: "7.9 kB". */
export function bytes(number) {
    if (number < 1000) return `${number} B`;
    return number < 1e6 ? `${(number / 1e3).toFixed(1)} kB` : `${(number / 1e6).toFixed(1)} MB`;
}

/** How long ago: "now", "5 min", "2 h", "3 d". */
export function ago(then, now) {
    const seconds = Math.max(0, (now - then) / 1000);
    if (seconds < 60) return "now";
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86_400)} d`;
}

/** The same in a sentence: "just now", "5 min ago". */
export const since = (then, now) => (now - then < 60_000 ? "just now" : `${ago(then, now)} ago`);

/** How long until: "29 min", "3 days"; "" when it is over. */
export function until(then, now) {
    const seconds = (then - now) / 1000;
    if (seconds <= 0) return "";
    if (seconds < 90) return `${Math.ceil(seconds)} s`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
    if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
    return `${Math.round(seconds / 86_400)} days`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

export const clock = (at) => (Number.isFinite(at) ? CLOCK.format(at) : "");
export const dayAndTime = (at) => (Number.isFinite(at) ? DAY.format(at) : "");

/** A name for people: `researcher` is "Researcher". */
export const named = (agent) => (agent ? agent[0].toUpperCase() + agent.slice(1).replaceAll("_", " ") : "");

/** "1 step", "2 steps". */
export const plural = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

export const shortId = (id) => id.slice(-4);

/** What a file is about, for its card. */
export const baseName = (path) => path.slice(path.lastIndexOf("/") + 1);
