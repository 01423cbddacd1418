// Draws the figures that the page holds as JSON, in the colours of the style sheet.
"use strict";
(() => {
  const style = () => getComputedStyle(document.documentElement);

  // Colours are named as the style sheet names them: "var(--accent)".
  const coloured = (value, css) => {
    if (typeof value === "string") {
      const found = /^var\((--[\w-]+)\)$/.exec(value);
      return found ? css.getPropertyValue(found[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((one) => coloured(one, css));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, css)]));
    }
    return value;
  };

  const axis = (css) => ({
    gridcolor: css.getPropertyValue("--line").trim(),
    linecolor: css.getPropertyValue("--line-strong").trim(),
    zerolinecolor: css.getPropertyValue("--line").trim(),
    automargin: true,
    title: { standoff: 10, font: { size: 13 } },
    // Where both axes begin in one corner, their ticks do not.
    ticklabelstandoff: 6,
    spikecolor: css.getPropertyValue("--line-strong").trim(),
    spikethickness: 1,
    spikedash: "solid",
  });

  const template = (css) => ({
    layout: {
      font: { family: css.getPropertyValue("--sans").trim(), size: 13, color: css.getPropertyValue("--text").trim() },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      colorway: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => css.getPropertyValue(`--series-${n}`).trim()),
      xaxis: axis(css),
      yaxis: axis(css),
      margin: { l: 8, r: 8, t: 24, b: 8 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      hovermode: "x unified",
      hoverlabel: { namelength: -1, bgcolor: css.getPropertyValue("--surface").trim(), bordercolor: css.getPropertyValue("--line-strong").trim() },
    },
  });

  // Of late values more, and of the first no less: the mean is of those that there are.
  const smoothed = (values, weight) => {
    let sum = 0;
    let weights = 0;
    return values.map((value) => {
      if (value === null) return null;
      sum = weight * sum + value;
      weights = weight * weights + 1;
      return sum / weights;
    });
  };

  // Names take half of a plot: under the pointer their values stand beside them. Of longer ones the
  // middle is left out, since they often begin alike; what is written for a character stays whole.
  const written = document.createElement("canvas").getContext("2d");
  const shortened = (name, room) => {
    const characters = name.match(/&(?:amp|lt);|./gsu) ?? [];
    let short = name;
    for (let kept = characters.length - 1; kept > 1 && written.measureText(short).width > room; kept--) {
      short = [...characters.slice(0, kept >> 1), "…", ...characters.slice(-((kept + 1) >> 1))].join("");
    }
    return short;
  };
  const named = (plot, data, { font }) => {
    written.font = `${font.size}px ${font.family}`;
    return data.map((trace) => (trace.name ? { ...trace, name: shortened(trace.name, plot.clientWidth / 2) } : trace));
  };

  // Switches of a chart: <input data-chart="ID" data-does="log|smooth">. What is smoothed stays, faint.
  const switches = (plot) => [...document.querySelectorAll("input[data-chart]")].filter((one) => one.dataset.chart === plot.closest(".chart").id);
  const switched = (plot, { data, layout }) => {
    for (const one of switches(plot)) {
      if (one.dataset.does === "log" && one.checked) layout = { ...layout, yaxis: { ...layout.yaxis, type: "log" } };
      if (one.dataset.does === "smooth" && Number(one.value) > 0) {
        data = data.flatMap((trace) => {
          if (trace.meta !== "noisy") return [trace];
          const line = { color: "var(--series-1)", ...trace.line };
          return [
            { ...trace, opacity: 0.28, showlegend: false, hoverinfo: "skip", line: { ...line, width: 1 } },
            { ...trace, y: smoothed(trace.y, Number(one.value)), line },
          ];
        });
      }
    }
    return { data, layout };
  };

  const draw = (plot, plain) => {
    const css = style();
    const figure = switched(plot, plain);
    const layout = coloured(figure.layout, css);
    // What was zoomed or hidden by hand stays.
    layout.uirevision ??= "kept";
    layout.template = template(css);
    layout.width = plot.clientWidth;
    layout.height = plot.clientHeight;
    Plotly.react(plot, coloured(named(plot, figure.data, layout.template.layout), css), layout, { displaylogo: false, displayModeBar: false });
  };

  const figureOf = (plot) => JSON.parse(document.getElementById(plot.dataset.figure).textContent);
  const plots = () => document.querySelectorAll(".plot[data-figure]");
  const drawAll = () => plots().forEach((plot) => draw(plot, figureOf(plot)));

  // Streams change a figure: {target: id of the chart, figure}.
  document.addEventListener("figure", ({ detail }) => {
    const source = document.getElementById(`${detail.target}-figure`);
    if (!source) return;
    source.textContent = JSON.stringify(detail.figure);
    draw(document.querySelector(`#${CSS.escape(detail.target)} .plot`), detail.figure);
  });
  // What came with a fragment is not drawn yet.
  document.addEventListener("changed", () => plots().forEach((plot) => plot.childElementCount || draw(plot, figureOf(plot))));
  document.addEventListener("input", ({ target }) => {
    const chart = target.dataset.chart && document.getElementById(target.dataset.chart);
    const plot = chart?.querySelector(".plot");
    if (plot) draw(plot, figureOf(plot));
  });
  document.addEventListener("theme", drawAll);
  // What fits is another then.
  let resized;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(drawAll, 100);
  });
  drawAll();
})();
