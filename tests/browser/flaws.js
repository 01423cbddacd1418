// What a view's layout does wrong, in words; sizes within `rounding` pixels are the same.
(rounding) => {
  const flaws = [];
  const root = document.documentElement;
  const box = (one) => one.getBoundingClientRect();
  const quoted = (text) => `"${text.trim().replace(/\s+/g, " ").slice(0, 40)}"`;
  const named = (one) => `${one.tagName.toLowerCase()} ${quoted(one.textContent || one.getAttribute("aria-label") || "")}`;
  const isShown = (one) => one.checkVisibility({ opacityProperty: true, visibilityProperty: true });

  function* above(one) {
    for (let at = one.parentElement; at && at !== document.body; at = at.parentElement) yield at;
  }
  function scrollers(one) {
    return [...above(one)].filter((at) => /auto|scroll/.test(getComputedStyle(at).overflowX));
  }
  if (root.scrollWidth > root.clientWidth) {
    const isOut = (one) => box(one).right > root.clientWidth && !one.closest(".hidden-text") && scrollers(one).length === 0;
    const wide = [...document.querySelectorAll("body *")].filter(isOut);
    flaws.push(`the document is ${root.scrollWidth} px wide, of ${root.clientWidth}: ${wide.slice(0, 3).map(named)}`);
  }

  const within = (a, b) => ({
    left: Math.max(a.left, b.left), right: Math.min(a.right, b.right),
    top: Math.max(a.top, b.top), bottom: Math.min(a.bottom, b.bottom),
  });
  const isEmpty = (a) => a.right - a.left <= rounding || a.bottom - a.top <= rounding;
  const meet = (a, b) => !isEmpty(within(a, b));

  // What is seen of a box, and what cuts it off that nobody can scroll: null where nothing does.
  // What scrolls by itself may be cut at its own edge: the rest can be scrolled to.
  const seen = (rect, holder) => {
    // Of a DOMRect nothing is copied by spreading it.
    let visible = within(rect, rect);
    let cutter = null;
    for (const at of [holder, ...above(holder)]) {
      if (isEmpty(visible)) break;
      const style = getComputedStyle(at);
      if (style.overflowX === "visible" && style.overflowY === "visible") continue;
      const { left, top } = box(at);
      const edge = {
        left: left + at.clientLeft, right: left + at.clientLeft + at.clientWidth,
        top: top + at.clientTop, bottom: top + at.clientTop + at.clientHeight,
      };
      const isAcross = visible.left < edge.left - rounding || visible.right > edge.right + rounding;
      const isAlong = visible.top < edge.top - rounding || visible.bottom > edge.bottom + rounding;
      const mayScroll = (overflow) => overflow === "auto" || overflow === "scroll";
      // Of what is shortened the whole is told by its title.
      const isShortened = style.textOverflow === "ellipsis" && (at.title || at.closest("[title]"));
      if ((isAcross && !mayScroll(style.overflowX) && !isShortened) || (isAlong && !mayScroll(style.overflowY))) cutter ??= at;
      visible = within(visible, edge);
    }
    return { visible, cutter };
  };

  // Pieces of text, a line each. Plots are looked at below; what is hidden is read aloud alone.
  const pieces = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    const holder = node.parentElement;
    if (!node.data.trim() || holder.closest(".plot[data-figure], .hidden-text, .skip, script, style, option") || !isShown(holder)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const block = [holder, ...above(holder)].find((at) => !/^(inline|contents)$/.test(getComputedStyle(at).display));
    let isTold = false;
    for (const rect of range.getClientRects()) {
      if (rect.width === 0) continue;
      const { visible, cutter } = seen(rect, holder);
      const mayLeave = cutter || !block || getComputedStyle(block).overflowX !== "visible";
      const isBeyond = !mayLeave && (rect.right > box(block).right + rounding || rect.left < box(block).left - rounding);
      if (!isTold && (cutter || isBeyond)) {
        flaws.push(`${quoted(node.data)} ${cutter ? `is cut off by ${named(cutter)}` : `sticks out of ${named(block)}`}`);
        isTold = true;
      }
      // Of a line the letters: what is above and below them is room, which the next line may have.
      const room = (rect.bottom - rect.top) / 5;
      const letters = within(visible, { ...visible, top: rect.top + room, bottom: rect.bottom - room });
      if (!isEmpty(letters)) pieces.push({ node, name: quoted(node.data), ...letters });
    }
  }

  const written = document.createElement("canvas").getContext("2d");
  for (const one of document.querySelectorAll("select, input[placeholder], textarea[placeholder]")) {
    if (!isShown(one)) continue;
    const style = getComputedStyle(one);
    // A field that is filled scrolls by itself.
    const text = one.tagName === "SELECT" ? (one.selectedOptions[0]?.text ?? "") : one.value ? "" : one.placeholder;
    written.font = style.font;
    const room = one.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    if (one.tagName !== "TEXTAREA" && written.measureText(text).width > room + rounding) flaws.push(`${quoted(text)} of ${one.tagName.toLowerCase()} ${one.name} is cut off`);
  }

  // Controls as far as they are seen; what is in one is its own.
  const controls = [...document.querySelectorAll("button, .button, summary, select, textarea, input:not([type=hidden])")]
    .filter(isShown)
    .map((one) => ({ node: one, name: named(one), ...seen(box(one), one.parentElement).visible }))
    .filter((one) => !isEmpty(one));
  const things = [...pieces, ...controls].sort((a, b) => a.top - b.top);
  const told = new Set();
  things.forEach((one, place) => {
    for (let next = place + 1; next < things.length && things[next].top < one.bottom; next++) {
      const other = things[next];
      const isOwn = one.node.contains(other.node) || other.node.contains(one.node);
      if (isOwn || !meet(one, other)) continue;
      const flaw = `${one.name} lies on ${other.name}`;
      if (!told.has(flaw)) flaws.push(flaw);
      told.add(flaw);
    }
  });

  for (const plot of document.querySelectorAll(".plot[data-figure]")) {
    const frame = box(plot);
    const isBlank = !plot.querySelector(".main-svg .trace, .main-svg .point");
    if (frame.height < 120 || isBlank) flaws.push(`${plot.dataset.figure} is empty`);
    const sizes = new Set([...plot.querySelectorAll(".xtick text, .ytick text")].map((one) => getComputedStyle(one).fontSize));
    if (sizes.size > 1) flaws.push(`ticks of ${plot.dataset.figure} are of sizes ${[...sizes]}`);
    const labels = [...plot.querySelectorAll("text")].filter((one) => isShown(one) && box(one).width > 0);
    labels.forEach((text, place) => {
      const { left, right } = box(text);
      const isOut = left < frame.left - rounding || right > frame.right + rounding;
      if (isOut) flaws.push(`"${text.textContent}" of ${plot.dataset.figure} is cut off`);
      for (const other of labels.slice(place + 1)) {
        if (meet(box(text), box(other))) flaws.push(`${named(text)} of ${plot.dataset.figure} lies on ${named(other)}`);
      }
    });
  }
  return flaws;
}
