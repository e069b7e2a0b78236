// Light, dark, or as the system has it. Loaded before anything is drawn, so that nothing flashes.

const KEY = "signalbox-theme";
export const THEMES = ["auto", "light", "dark"];

/** The theme that was chosen. */
export function chosen() {
    try {
        const kept = localStorage.getItem(KEY);
        return THEMES.includes(kept) ? kept : "auto";
    } catch {
        return "auto";
    }
}

/** Choose a theme, now and for the next time. */
export function choose(theme) {
    try {
        localStorage.setItem(KEY, theme);
    } catch {
        // Storage may be closed to a page; then the choice lasts as long as the page.
    }
    show(theme);
}

export const isDark = () => {
    const theme = document.documentElement.dataset.theme ?? "auto";
    return theme === "dark" || (theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
};

function show(theme) {
    document.documentElement.dataset.theme = theme;
}

show(chosen());
