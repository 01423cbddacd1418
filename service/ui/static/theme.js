// Light or dark: as the system has it, or as was chosen here. Before anything is drawn.
"use strict";
(() => {
  const root = document.documentElement;
  const key = "alexnet-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const show = () => {
    const theme = chosen() || (dark.matches ? "dark" : "light");
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) {
      button.textContent = theme === "dark" ? "Light" : "Dark";
      button.setAttribute("aria-label", `Use the ${button.textContent.toLowerCase()} theme`);
      button.hidden = false;
    }
    document.dispatchEvent(new Event("theme"));
  };
  show();
  dark.addEventListener("change", show);
  addEventListener("storage", show);
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      try {
        localStorage.setItem(key, root.dataset.theme === "dark" ? "light" : "dark");
      } catch {
        // Not remembered, where nothing may be stored; the system's theme stays.
      }
      show();
    });
  });
})();
