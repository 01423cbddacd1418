// What a view's layout does wrong, in words; sizes within `rounding` pixels are the same.
(rounding) => {
  const flaws = [];
  const root = document.documentElement;
  const box = (one) => one.getBoundingClientRect();
  const named = (one) => `${one.tagName.toLowerCase()} "${one.textContent.trim().slice(0, 40)}"`;
  const isShown = (one) => one.checkVisibility() && box(one).width > 0;

  // What scrolls by itself may be wider than it is shown.
  const mayScroll = (one) => one.closest(".hidden-text, .scroll, .wide-table, pre");
  if (root.scrollWidth > root.clientWidth) {
    const isOut = (one) => box(one).right > root.clientWidth && !mayScroll(one);
    const wide = [...document.querySelectorAll("body *")].filter(isOut);
    flaws.push(`the document is ${root.scrollWidth} px wide, of ${root.clientWidth}: ${wide.slice(0, 3).map(named)}`);
  }

  const meet = (a, b) =>
    a.left < b.right - rounding && b.left < a.right - rounding && a.top < b.bottom - rounding && b.top < a.bottom - rounding;
  const heads = [...document.querySelectorAll(".top .brand, .top nav a, .who > *")].filter(isShown);
  heads.forEach((one, place) => {
    for (const other of heads.slice(place + 1)) {
      if (meet(box(one), box(other))) flaws.push(`${named(one)} lies on ${named(other)}`);
    }
  });

  const texts = "button, .button, .badge, .state, h1, h2, h3, dt, dd, label, figcaption, .number";
  for (const one of document.querySelectorAll(texts)) {
    const { display, textOverflow } = getComputedStyle(one);
    const isWider = one.scrollWidth > one.clientWidth + rounding && display !== "inline";
    // Of what is shortened the whole is told by its title.
    const isShortened = textOverflow === "ellipsis" && one.title;
    if (isShown(one) && !mayScroll(one) && isWider && !isShortened) flaws.push(`${named(one)} is cut off`);
  }

  for (const plot of document.querySelectorAll(".plot[data-figure]")) {
    const frame = box(plot);
    const isEmpty = !plot.querySelector(".main-svg .trace, .main-svg .point");
    if (frame.height < 120 || isEmpty) flaws.push(`${plot.dataset.figure} is empty`);
    const sizes = new Set([...plot.querySelectorAll(".xtick text, .ytick text")].map((one) => getComputedStyle(one).fontSize));
    if (sizes.size > 1) flaws.push(`ticks of ${plot.dataset.figure} are of sizes ${[...sizes]}`);
    const written = [...plot.querySelectorAll("text")].filter(isShown);
    written.forEach((text, place) => {
      const { left, right } = box(text);
      const isOut = left < frame.left - rounding || right > frame.right + rounding;
      if (isOut) flaws.push(`"${text.textContent}" of ${plot.dataset.figure} is cut off`);
      for (const other of written.slice(place + 1)) {
        if (meet(box(text), box(other))) flaws.push(`${named(text)} of ${plot.dataset.figure} lies on ${named(other)}`);
      }
    });
  }
  return flaws;
}
