"use strict";
// Draws the curves of a report with Plotly. The numbers are in the element "charts", the places in .chart.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const fewest = 20; // points, below which nothing is smoothed
  const height = 270; // pixels

  // The mean of the points around each one.
  const smoothed = (values) => {
    const reach = Math.max(1, Math.round(values.length / 40));
    return values.map((value, at) => {
      const near = Math.min(reach, at, values.length - 1 - at);
      const part = values.slice(at - near, at + near + 1);
      return part.reduce((sum, each) => sum + each, 0) / part.length;
    });
  };

  // What is drawn of a line: the line alone, or a smoothed one over a pale one. A name is listed once.
  const drawn = (line, x, listed) => {
    const color = css(`--c${line.color % 10}`);
    const few = line.y.length < fewest;
    const points = line.lone ? "markers" : few || line.kind === "measured" ? "lines+markers" : "lines";
    const one = {
      x, y: line.y, name: line.name, legendgroup: line.name, mode: points, marker: { size: 6, color },
      line: { color, width: 2, dash: line.kind === "measured" ? "dash" : "solid" }, showlegend: !listed.has(line.name),
      hovertemplate: "%{fullData.name}<br>step %{x}: %{y:.4g}<extra></extra>",
    };
    if (line.kind === "pale") return [{ ...one, opacity: 0.35, showlegend: false, line: { color, width: 1 } }];
    listed.add(line.name);
    if (few || line.kind !== "trained") return [one];
    const pale = { ...one, opacity: 0.3, showlegend: false, hoverinfo: "skip", hovertemplate: null };
    return [{ ...pale, line: { color, width: 1 } }, { ...one, y: smoothed(line.y) }];
  };

  const layout = (chart, width) => {
    const axis = { gridcolor: css("--line"), linecolor: css("--line"), zeroline: false, automargin: true };
    const level = { type: "line", xref: "paper", x0: 0, x1: 1, y0: chart.level, y1: chart.level };
    return {
      width, height, margin: { l: 44, r: 8, t: 6, b: 30 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: css("--quiet") },
      xaxis: { ...axis, rangemode: "tozero" }, yaxis: axis, showlegend: true,
      legend: { orientation: "h", y: -0.16, yanchor: "top", x: 0, font: { color: css("--ink") } }, hovermode: "closest",
      shapes: chart.level === null ? [] : [{ ...level, line: { color: css("--quiet"), width: 1, dash: "dot" } }],
    };
  };

  const draw = (box) => {
    const chart = charts[Number(box.dataset.chart)];
    const listed = new Set();
    const traces = chart.lines.flatMap((line) => drawn(line, chart.xs[line.x], listed));
    Plotly.react(box, traces, layout(chart, box.clientWidth), { displayModeBar: false });
  };

  // Charts that are folded have no width yet.
  for (const box of document.querySelectorAll(".chart")) {
    let width = 0;
    new ResizeObserver(() => {
      if (!box.clientWidth || box.clientWidth === width) return;
      width = box.clientWidth;
      draw(box);
    }).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => box.clientWidth && draw(box));
  }
})();
