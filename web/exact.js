// What a person is to judge, exactly as it is: numbers that a browser would round, and characters that nobody sees.

/** Read JSON; a number that a browser would round, as a long whole one, stays what was written: `JSON.stringify` writes it so. */
export const parseExact = (text) =>
    JSON.parse(text, (key, value, context) => (isRounded(value) && context?.source && JSON.rawJSON ? JSON.rawJSON(context.source) : value));

const isRounded = (value) => typeof value === "number" && (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)));

/** Whether a value is such a number. */
export const isKept = (value) => JSON.isRawJSON?.(value) ?? false;

/** A whole number from its digits, however many. */
export function numberOf(text) {
    const value = Number(text);
    return isRounded(value) && /^-?(?:0|[1-9]\d*)$/.test(text.trim()) && JSON.rawJSON ? JSON.rawJSON(text.trim()) : value;
}

// The same as domain/unseen.py: kinds that show nothing or change how others are shown, and letters that look like blanks.
const UNSEEN =
    /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180F\u2800\u3164\uFE00-\uFE0F\uFFA0\u{E0000}-\u{E0FFF}]/gu;

/** How something is called that begins with a text: one of which nothing is seen, and a link that cannot be hit, is written out. */
export function nameOf(text, most) {
    const begin = (text.trim() || text).slice(0, most);
    return begin.replace(UNSEEN, "").trim() ? begin : written(begin);
}

/** A text in which nothing hides: what shows nothing is written out, but for line ends and tabs. */
export const written = (text) =>
    String(text).replace(UNSEEN, (character) =>
        character === "\n" || character === "\t" ? character : `\\u{${character.codePointAt(0).toString(16).padStart(4, "0")}}`,
    );
