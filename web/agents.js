// How agents are told apart: a hue each, the same lightness; and always a name and an initial.

const HUES = { supervisor: 290, researcher: 250, analyst: 55, coder: 185, validator: 345 };
const OTHERS = [20, 90, 120, 150, 215, 270, 310, 330];

/** The hue of an agent: fixed for those of the house, from its name for any other. */
export function hueOf(agent) {
    if (agent in HUES) return HUES[agent];
    let sum = 0;
    for (const character of agent ?? "") sum = (sum * 31 + character.codePointAt(0)) >>> 0;
    return OTHERS[sum % OTHERS.length];
}

/** What an element needs to be drawn in an agent's colours. */
export const tint = (agent) => ({ "--hue": hueOf(agent) });
