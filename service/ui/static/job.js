// The page of a job: its log stays at its end, kernels are seen over time, and texts can be copied.
"use strict";
(() => {
  const MAX_LOG_CHARACTERS = 2_000_000;
  const log = () => document.getElementById("log-text");
  let follows = true;
  const toEnd = () => {
    const one = log();
    while (one.textContent.length > MAX_LOG_CHARACTERS && one.childNodes.length > 1) one.firstChild.remove();
    if (follows) one.scrollTop = one.scrollHeight;
  };
  // Whoever scrolls up reads on undisturbed.
  document.addEventListener("scroll", ({ target }) => {
    if (target === log()) follows = target.scrollHeight - target.scrollTop - target.clientHeight < 40;
  }, true);
  document.addEventListener("changed", toEnd);
  toEnd();

  // Kernels over time: the pictures change while one slides; what images are taken for, when one has chosen.
  let chosen = null;
  let slider = null;
  const showKernels = () => {
    const steps = JSON.parse(document.getElementById("kernels-steps").textContent);
    const place = chosen === null ? Number(slider.value) : steps.findIndex((one) => one.step === chosen);
    const one = steps[place] ?? steps.at(-1);
    slider.value = String(steps.indexOf(one));
    slider.setAttribute("aria-valuetext", one.label);
    const label = document.getElementById("kernels-label");
    if (label) label.textContent = one.label;
    document.querySelectorAll("img.kernels").forEach((img, tower) => (img.src = one.urls[tower] ?? img.src));
    return one;
  };
  // So that nothing is waited for while one slides: what is next to it, one after another.
  let preloading = 0;
  const preload = async () => {
    const mine = ++preloading;
    const steps = JSON.parse(document.getElementById("kernels-steps").textContent);
    const place = Number(slider.value);
    for (const url of [place + 1, place - 1].flatMap((near) => steps[near]?.urls ?? [])) {
      if (mine !== preloading) return;
      const img = new Image();
      img.src = url;
      // One that does not come is waited for when it is chosen.
      await img.decode().catch(() => {});
    }
  };
  const showGuesses = async (one) => {
    const answer = await fetch(slider.dataset.guesses + one.step);
    const part = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("guesses");
    if (answer.ok && part) document.getElementById("guesses")?.replaceWith(document.adoptNode(part));
  };
  // The part comes anew with each checkpoint; what was chosen stays chosen.
  const takeSlider = () => {
    const found = document.getElementById("kernels-step");
    if (!found || found === slider) return;
    slider = found;
    slider.addEventListener("input", () => {
      chosen = null;
      chosen = showKernels().step;
      preload();
    });
    slider.addEventListener("change", () => showGuesses(showKernels()));
    if (chosen !== null) showGuesses(showKernels());
    preload();
  };
  document.addEventListener("changed", takeSlider);
  takeSlider();

  for (const text of document.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${text.getAttribute("aria-label")}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        // Not of a page that came unencrypted from another machine: then it is marked, to copy by hand.
        getSelection().selectAllChildren(text);
        button.textContent = "Marked: press Ctrl-C";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    text.before(button);
  }
})();
