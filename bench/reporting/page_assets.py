"""The report's page without its contents: frame, style and script."""

FRAME = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="setting">{setting}</p>
</header>
{notes}
{wrong}
<form class="choices">
<label>Filters <select id="mode">{modes}</select></label>
<label>Recall at least <select id="recall">{recalls}</select></label>
</form>
<main>
<section id="summary"><h2>Summary</h2>{summary}</section>
<section><h2>Times as fast as the best peer</h2>
<p class="caption">By selectivity and by correlation of filter and query, all families together \
(geometric means, with the number of cells), then family by family. Blue and &#9650;: faster; \
orange and &#9660;: slower; &#8776;: the interval holds 1. Empty: not measured.</p>
<div class="scroll"><div id="together" class="figure"></div></div>
<div class="scroll"><div id="families" class="figure"></div></div>
</section>
<section><h2>Every cell</h2>
<p class="caption">Right of the line: won; left of it: lost. Bars: 95 % intervals.</p>
<div class="scroll"><div id="ratios" class="figure"></div></div>
<div id="ratio-table">{ratios}</div>
<details><summary>The ratio at every recall, and the best peer there</summary>{other}</details>
<details id="every-engine"><summary>Queries per second of every engine</summary>{engines}</details>
</section>
<section><h2>Recall against speed</h2>
<p class="caption">Up and right is better. A line joins an engine's best settings, pale marks are \
settings that another one of the same engine beats, large crosses gave wrong answers. Bars: 95 % \
intervals. Dotted line: the recall chosen above. A click in the legend hides an engine, a double \
click all others.</p>
<form class="choices"><label>Family <select id="family">{families}</select></label></form>
<div id="curves" class="figure"></div>
<details id="points"><summary>Every measured point of a cell</summary>
<form class="choices"><label>Cell <select id="cell">{cells}</select></label></form>
<div class="wide"><table id="point-table"></table></div></details>
</section>
<section><h2>Builds and memory</h2>{builds}
<p class="caption">Peak: of the building process. Resident: what the searching process holds more \
than before it opened the index. Of the vectors: times their bytes as float32. Kept: built in an \
earlier run.</p></section>
<section><h2>Problems</h2>{problems}</section>
<section><h2>Cells</h2>{cell_table}</section>
<section><h2>Method</h2><ul>{method}</ul></section>
<section><h2>Machine, versions, configuration</h2>{facts}</section>
<section><h2>Data</h2><p>Everything above is embedded in this page: \
<button type="button" data-table="points">points.csv</button> \
<button type="button" data-table="ratios">ratios.csv</button> \
<button type="button" data-table="cells">cells.csv</button> \
<button type="button" data-table="builds">builds.csv</button> \
<button type="button" data-table="problems">problems.csv</button> \
<button type="button" data-table="">all.json</button></p></section>
</main>
<script type="application/json" id="data">{data}</script>
<script type="application/json" id="figure-data">{figures}</script>
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light; --ink: #1a1a1a; --line: #d0d0d0; --fast: #0072b2; --slow: #b34700; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem; background: #fff; color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { max-width: 52rem; } .setting { margin: .2rem 0 1rem; } .caption { font-size: .9rem; }
.note { border-left: 4px solid var(--line); padding-left: .8rem; }
.wrong { border: 3px solid var(--slow); padding: .2rem 1rem 1rem; margin: 1rem 0; }
.wrong h2 { margin-top: .6rem; color: var(--slow); }
main > .choices, body > .choices { position: sticky; top: 0; z-index: 5; background: #fff;
  border-bottom: 1px solid var(--line); padding: .5rem 0; }
.choices { display: flex; flex-wrap: wrap; gap: .4rem 1.5rem; }
select, button { font: inherit; padding: .15rem .4rem; }
.wide, .scroll { overflow-x: auto; } .scroll > .figure { min-width: 36rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .25rem .7rem .25rem 0;
  border-bottom: 1px solid var(--line); }
th, td:first-child, .number { white-space: nowrap; } td { max-width: 34rem; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; } .number { text-align: right; }
tr[data-mark="faster"] .ratio { color: var(--fast); font-weight: 700; }
tr[data-mark="slower"] .ratio, tr[data-mark="not reached"] .ratio {
  color: var(--slow); font-weight: 700; }
tr[data-mark="faster"] .ratio::before { content: "\\25b2 "; }
tr[data-mark="slower"] .ratio::before { content: "\\25bc "; }
tr[data-mark="not reached"] .ratio::before { content: "\\2715 "; }
tr[data-mark="undecided"] .ratio::before { content: "\\2248 "; }
details { margin: .8rem 0; } summary { cursor: pointer; font-weight: 600; }
.figure { margin: .5rem 0; } .empty { font-style: italic; }
@media print { .choices, button, details:not([open]) { display: none; } body { max-width: none; } }
"""

SCRIPT = """
"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figure-data"), data = read("data");
  const chosen = (id) => document.getElementById(id).value;
  const config = { displaylogo: false, responsive: true,
    modeBarButtonsToRemove: ["lasso2d", "select2d"], toImageButtonOptions: { format: "svg" } };

  // Panels of recall against speed: as many side by side as the window has room for.
  function arrange(traces, layout, width) {
    const panels = Object.keys(layout).filter((name) => /^xaxis/.test(name)).length;
    const { l, r, b } = layout.margin, gapX = 70, gapY = 90, tall = 240;
    const names = traces.filter((trace) => trace.showlegend !== false).map((trace) => trace.name);
    const entry = 55 + 8 * Math.max(...names.map((name) => name.length));
    const lines = Math.ceil(names.length / Math.max(1, Math.floor((width - l - r) / entry)));
    const t = layout.margin.t = 45 + 20 * lines;
    const columns = Math.max(1, Math.min(panels, 4, Math.floor(width / 330)));
    const rows = Math.ceil(panels / columns);
    const room = width - l - r, height = rows * tall + (rows - 1) * gapY;
    const wide = (room - (columns - 1) * gapX) / columns;
    layout.height = height + t + b;
    layout.shapes = [];
    for (let i = 0; i < panels; i++) {
      const x = (i % columns) * (wide + gapX) / room, n = i ? i + 1 : "";
      const y = 1 - Math.floor(i / columns) * (tall + gapY) / height;
      const xaxis = layout["xaxis" + n], yaxis = layout["yaxis" + n];
      xaxis.domain = [x, Math.min(1, x + wide / room)];
      yaxis.domain = [Math.max(0, y - tall / height), y];
      if (i % columns) delete yaxis.title;
      if (i + columns < panels) delete xaxis.title;
      const at = layout.meta[chosen("recall")];
      layout.shapes.push({ type: "line", xref: "x" + n, yref: "y" + n + " domain", x0: at, x1: at,
        y0: 0, y1: 1, layer: "below", line: { color: "#777", width: 1.5, dash: "dot" } });
    }
  }

  function draw(id, key) {
    const place = document.getElementById(id), found = figures[id][key];
    if (!found) {
      if (place.data) Plotly.purge(place);
      place.innerHTML = '<p class="empty">No comparison was measured.</p>';
      return;
    }
    if (!place.data) place.textContent = "";
    const { data: traces, layout } = structuredClone(found);
    if (id === "curves") arrange(traces, layout, place.clientWidth);
    Plotly.react(place, traces, layout, config);
  }

  function show() {
    const mode = chosen("mode"), recall = chosen("recall");
    for (const part of document.querySelectorAll("div[data-mode]")) {
      const other = part.dataset.recall && part.dataset.recall !== recall;
      part.hidden = part.dataset.mode !== mode || Boolean(other);
    }
    for (const id of ["together", "families", "ratios"]) draw(id, mode + " " + recall);
    draw("curves", mode + " " + chosen("family"));
  }

  const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const whole = new Intl.NumberFormat("en");
  const number = (value) => typeof value !== "number" ? value ?? ""
    : (Number.isInteger(value) ? whole : short).format(value);

  function points() {
    const table = document.getElementById("point-table"), all = data.tables.points;
    const names = Object.keys(all).filter((name) => !["cell", "k", "threads"].includes(name));
    table.textContent = "";
    const line = (tag, values) => {
      const row = table.insertRow();
      values.forEach((value, i) => {
        const cell = document.createElement(tag);
        cell.textContent = value;
        if (!["engine", "kind", "mode", "setting"].includes(names[i])) cell.className = "number";
        row.append(cell);
      });
    };
    line("th", names);
    all.cell.forEach((cell, i) => {
      if (cell === chosen("cell")) line("td", names.map((name) => number(all[name][i])));
    });
  }

  function csv(table) {
    const names = Object.keys(table), rows = [names];
    const quoted = (text) => /[",\\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    const field = (value) => quoted(String(value ?? ""));
    for (let i = 0; i < table[names[0]].length; i++) rows.push(names.map((name) => table[name][i]));
    return rows.map((row) => row.map(field).join(",") + "\\n").join("");
  }

  function save(name) {
    const text = name ? csv(data.tables[name]) : JSON.stringify(data);
    const link = document.createElement("a"), type = name ? "text/csv" : "application/json";
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name ? name + ".csv" : "all.json";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  for (const id of ["mode", "recall", "family"]) {
    document.getElementById(id).addEventListener("change", show);
  }
  document.getElementById("cell").addEventListener("change", points);
  for (const button of document.querySelectorAll("button[data-table]")) {
    button.addEventListener("click", () => save(button.dataset.table));
  }
  let waiting;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 150);
  });
  show();
  points();
})();
"""
