// Figures as SVG. Each has axis titles with units, a spoken name, a legend whose entries can be switched off, and its numbers to download.
const CHART = { height: 300, left: 60, right: 16, top: 12, bottom: 46, narrowest: 280, widest: 760 };
// Figures are drawn at the width they have, so that their text keeps its size; a resize draws them again.
const drawn = new Map();

function widthOf(host) { return Math.max(CHART.narrowest, Math.min(CHART.widest, host.clientWidth || 560)); }
function tickWords(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || Number.isInteger(value)) ? fmt(value, 1) : String(Number(value.toPrecision(6))).replace("-", "−");
}


function ticks(low, high, wanted = 5) {
  if (!(high > low)) return [low];
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough) || 10 * power;
  const result = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) result.push(Number((i * step).toPrecision(12)));
  return result;
}

function logTicks(low, high) {
  const result = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) result.push(10 ** power);
  const inside = result.filter((v) => v >= low * 0.999 && v <= high * 1.001);
  if (inside.length >= 2) return inside;
  const fine = [];
  for (const value of result) for (const m of [1, 2, 5]) if (value * m >= low && value * m <= high) fine.push(value * m);
  return fine.length ? fine : [low, high];
}

function scale(low, high, from, to, log = false) {
  if (log) return (v) => from + ((Math.log(v) - Math.log(low)) / (Math.log(high) - Math.log(low) || 1)) * (to - from);
  return (v) => from + ((v - low) / (high - low || 1)) * (to - from);
}

function range(values, includeZero = false) {
  let low = Infinity;
  let high = -Infinity;
  for (const v of values) if (v !== null) { if (v < low) low = v; if (v > high) high = v; }
  if (low === Infinity) return [0, 1];
  if (includeZero) { low = Math.min(0, low); high = Math.max(0, high); }
  if (low === high) { const pad = Math.abs(low) * 0.1 || 1; return [low - pad, high + pad]; }
  return [low, high];
}

function text(x, y, words, attributes) { return svg("text", { x, y, ...attributes }, words); }

function axes(root, box, x, y) {
  const grid = svg("g", { class: "grid-lines" });
  for (const t of x.ticks) {
    grid.append(svg("line", { x1: x.at(t), x2: x.at(t), y1: box.top, y2: box.base }));
    root.append(text(x.at(t), box.base + 16, tickWords(t), { class: "tick", "text-anchor": "middle" }));
  }
  for (const t of y.ticks) {
    grid.append(svg("line", { x1: box.left, x2: box.end, y1: y.at(t), y2: y.at(t) }));
    root.append(text(box.left - 7, y.at(t) + 4, tickWords(t), { class: "tick", "text-anchor": "end" }));
  }
  root.prepend(grid);
  root.append(svg("line", { class: "axis", x1: box.left, x2: box.end, y1: box.base, y2: box.base }));
  root.append(svg("line", { class: "axis", x1: box.left, x2: box.left, y1: box.top, y2: box.base }));
  root.append(text((box.left + box.end) / 2, box.base + 38, x.label, { class: "axis-title", "text-anchor": "middle" }));
  const middle = (box.top + box.base) / 2;
  root.append(text(14, middle, y.label, { class: "axis-title", "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }));
}

// Points of a histogram outline: n + 1 edges, n counts.
function outline(series) {
  const points = [[series.x[0], 0]];
  series.y.forEach((count, i) => { points.push([series.x[i], count], [series.x[i + 1], count]); });
  points.push([series.x[series.x.length - 1], 0]);
  return points;
}

function curvePath(points, x, y, usable) {
  let path = "";
  let pen = false;
  for (const [a, b] of points) {
    if (!usable(a, b)) { pen = false; continue; }
    path += `${pen ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`;
    pen = true;
  }
  return path;
}

function legend(host, series, hidden, redraw) {
  const box = el("div", { class: "legend", role: "group", "aria-label": "Legend; each entry switches its curve" });
  series.forEach((s) => {
    const swatch = svg("svg", { width: 26, height: 10, "aria-hidden": "true" },
      svg("line", { x1: 1, x2: 25, y1: 5, y2: 5, "stroke-dasharray": s.dash, style: `stroke:${colour(s.colour)}`, "stroke-width": s.wide ? 3 : 2 }));
    const shown = !hidden.has(s.name);
    box.append(el("button", { type: "button", class: "key", "aria-pressed": String(shown), title: s.note || null,
      onclick: () => { if (shown) hidden.add(s.name); else hidden.delete(s.name); redraw(s.name); } }, [swatch, s.name]));
  });
  host.append(box);
  return box;
}

// kind: lines or steps. Extra keys: xRange, yRange, diagonal, marks, hidden (a Set kept by the caller).
function drawLines(host, figure) {
  const hidden = figure.hidden || (figure.hidden = new Set());
  clear(host);
  const shown = figure.series.filter((s) => !hidden.has(s.name));
  const isSteps = figure.kind === "steps";
  const points = new Map(shown.map((s) => [s.name, isSteps ? outline(s) : s.x.map((v, i) => [v, s.y[i]])]));
  const all = [...points.values()].flat();
  const marks = figure.marks || [];
  const log = Boolean(figure.log_y);
  const logX = Boolean(figure.log_x);
  const usable = (a, b) => a !== null && b !== null && (!log || b > 0) && (!logX || a > 0);
  const width = widthOf(host);
  const [x0, x1] = figure.xRange || range(all.map((p) => p[0]).filter((v) => !logX || v > 0));
  let [y0, y1] = figure.yRange || range(all.map((p) => p[1]).filter((v) => !log || v > 0).concat(marks.map((m) => m.y)), isSteps);
  if (!figure.yRange && !log) { const pad = (y1 - y0) * 0.04; y1 += pad; if (!isSteps) y0 = y0 >= 0 ? Math.max(0, y0 - pad) : y0 - pad; }
  const box = { left: CHART.left, end: width - CHART.right, top: CHART.top, base: CHART.height - CHART.bottom };
  const x = scale(x0, x1, box.left, box.end, logX);
  const y = scale(y0, y1, box.base, box.top, log);
  const root = svg("svg", { viewBox: `0 0 ${width} ${CHART.height}`, role: "img", "aria-label": `${figure.title}. ${figure.y} against ${figure.x}. ${shown.map((s) => s.name).join(", ")}` });
  axes(root, box, { ticks: logX ? logTicks(x0, x1) : ticks(x0, x1, width < 420 ? 4 : 6), at: x, label: figure.x }, { ticks: log ? logTicks(y0, y1) : ticks(y0, y1), at: y, label: figure.y });
  if (figure.diagonal) root.append(svg("line", { class: "mark-line", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
  for (const mark of marks) {
    root.append(svg("line", { class: "mark-line", x1: box.left, x2: box.end, y1: y(mark.y), y2: y(mark.y) }));
    root.append(text(box.left + 5, y(mark.y) - 5, mark.label, { class: "tick" }));
  }
  // The main curve last, on top of the others.
  for (const s of [...shown].sort((a, b) => (a.wide ? 1 : 0) - (b.wide ? 1 : 0))) {
    const path = svg("path", { d: curvePath(points.get(s.name), x, y, usable), class: "curve", "stroke-dasharray": s.dash, style: `stroke:${colour(s.colour)}`, "stroke-width": s.wide ? 3 : 1.7 });
    if (isSteps && shown.length === 1) { path.style.fill = colour(s.colour); path.style.fillOpacity = "0.18"; }
    path.append(svg("title", {}, s.name));
    root.append(path);
  }
  host.append(root);
  const redraw = (name) => {
    drawLines(host, figure);
    const again = [...host.querySelectorAll(".key")].find((key) => key.textContent === name);
    if (again) again.focus();
  };
  if (figure.series.length > 1) legend(host, figure.series, hidden, redraw);
  const rows = () => [["series", figure.x, figure.y]].concat(figure.series.flatMap((s) => (isSteps ? s.y.map((v, i) => [s.name, s.x[i], v]) : s.x.map((v, i) => [s.name, v, s.y[i]]))));
  host.append(el("div", { class: "chart-tools" }, downloadButton("Numbers (TSV)", figure.title + ".tsv", rows)));
}

// Horizontal bars (kind bars) or dots with intervals (kind forest).
function drawRows(host, figure) {
  clear(host);
  const items = figure.items.filter((item) => item.value !== null);
  const isForest = figure.kind === "forest";
  const longest = Math.max(4, ...items.map((item) => Math.min(36, item.name.length)));
  const width = widthOf(host);
  const left = Math.min(width * 0.45, 16 + longest * 7);
  const letters = Math.floor((left - 12) / 6.6);
  const step = figure.items.length > 30 ? 17 : 22;
  const height = 10 + items.length * step + CHART.bottom;
  const box = { left, end: width - 74, top: 8, base: height - CHART.bottom };
  const marks = figure.marks || [];
  const values = items.flatMap((item) => [item.value, item.low, item.high]).filter((v) => v !== null && v !== undefined).concat(marks.map((m) => m.x));
  let [x0, x1] = range(values, !isForest || !figure.tight);
  if (isForest) { const pad = (x1 - x0) * 0.05; x0 = x0 < 0 || figure.tight ? x0 - pad : x0; x1 += pad; }
  const x = scale(x0, x1, box.left, box.end);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${figure.title}. ${figure.x}. ${items.map((i) => `${i.name} ${fmt(i.value)}`).join(", ")}` });
  axes(root, box, { ticks: ticks(x0, x1, width < 420 ? 3 : 5), at: x, label: figure.x }, { ticks: [], at: () => 0, label: "" });
  for (const mark of marks) {
    root.append(svg("line", { class: "mark-line", x1: x(mark.x), x2: x(mark.x), y1: box.top, y2: box.base }, svg("title", {}, mark.label)));
  }
  items.forEach((item, row) => {
    const y = box.top + row * step + step / 2;
    const slot = item.colour === undefined ? 1 : item.colour;
    const group = svg("g", {}, svg("title", {}, `${item.name}: ${fmt(item.value)}${item.low !== undefined && item.low !== null ? ` [${fmt(item.low)}, ${fmt(item.high)}]` : ""}${item.note ? ` – ${item.note}` : ""}`));
    group.append(text(box.left - 8, y + 4, short(item.name, letters), { class: "row-name", "text-anchor": "end" }));
    let end = x(item.value);
    if (isForest) {
      if (item.low !== null && item.low !== undefined && item.high !== null) {
        group.append(svg("line", { x1: x(item.low), x2: x(item.high), y1: y, y2: y, style: `stroke:${colour(slot)}`, "stroke-width": 2 }));
        end = Math.max(end, x(item.high));
      }
      group.append(svg("circle", { cx: x(item.value), cy: y, r: 4.5, style: slot === 0 ? `fill:var(--page);stroke:${colour(0)}` : `fill:${colour(slot)};stroke:${colour(slot)}`, "stroke-width": 2 }));
    } else {
      const from = Math.min(x(0), end);
      const style = item.hollow ? `fill:var(--page);stroke:${colour(slot)}` : `fill:${colour(slot)};stroke:${colour(slot)}`;
      group.append(svg("rect", { x: from, y: y - step * 0.34, width: Math.max(0.5, Math.abs(end - x(0))), height: step * 0.68, style, "stroke-width": 1 }));
      end = Math.max(end, x(0));
    }
    group.append(text(end + 8, y + 4, fmt(item.value) + (item.mark ? " " + item.mark : ""), { class: "tick" }));
    root.append(group);
  });
  host.append(root);
  const rows = () => [["name", figure.x, "low", "high"]].concat(items.map((i) => [i.name, i.value, i.low, i.high]));
  host.append(el("div", { class: "chart-tools" }, downloadButton("Numbers (TSV)", figure.title + ".tsv", rows)));
}

function draw(host, figure) {
  drawn.set(host, figure);
  (figure.kind === "bars" || figure.kind === "forest" ? drawRows : drawLines)(host, figure);
}

let lastWidth = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === lastWidth) return; // a phone's address bar changes the height only
  lastWidth = window.innerWidth;
  for (const [host, figure] of drawn) if (host.isConnected) draw(host, figure);
});
