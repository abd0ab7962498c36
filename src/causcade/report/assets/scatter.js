// The map of cells on a canvas: thousands of points would be slow as SVG.
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis, readable without colour vision

function ramp(share) {
  const place = Math.min(0.9999, Math.max(0, share)) * (RAMP.length - 1);
  const i = Math.floor(place);
  return `rgb(${RAMP[i].map((from, k) => Math.round(from + (RAMP[i + 1][k] - from) * (place - i))).join(",")})`;
}

function cssColour(slot) { return getComputedStyle(document.documentElement).getPropertyValue(`--c${slot}`).trim(); }

// 1st and 99th percentile, so that one extreme cell does not wash out the scale.
function innerRange(values) {
  const sorted = values.filter((v) => v !== null).sort((a, b) => a - b);
  if (!sorted.length) return [0, 1];
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  return [at(0.01), Math.max(at(0.99), at(0.01) + 1e-9)];
}

function startMap() {
  const map = DATA.map;
  const canvas = byId("map-canvas");
  if (!map || !canvas) return;
  const select = byId("map-colour");
  options(select, [...Object.keys(map.groups), ...Object.keys(map.values)].map((name) => [name, name]), "cell line");
  // A fixed shuffle, so that the group drawn last does not cover the others.
  const order = map.x.map((_, i) => i).sort((a, b) => ((a * 7919) % 104729) - ((b * 7919) % 104729));
  const redraw = () => {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = canvas.clientWidth || 600;
    const height = Math.round(width * 0.7);
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const [x0, x1] = range(map.x);
    const [y0, y1] = range(map.y);
    const x = scale(x0, x1, 8, width - 8);
    const y = scale(y0, y1, height - 8, 8);
    const name = select.value;
    const group = map.groups[name];
    const size = map.x.length > 5000 ? 1.5 : 2.4;
    const host = clear(byId("map-legend"));
    let paint;
    if (group) {
      const slots = group.levels.map((_, i) => 1 + (i % 7));
      const colours = group.levels.map((level, i) => (level === "treated" ? cssColour(0) : cssColour(slots[i])));
      paint = (i) => colours[group.codes[i]];
      group.levels.slice(0, 60).forEach((level, i) => {
        host.append(el("span", { class: "key" }, [el("span", { class: "dot", style: `background:${colours[i]}` }), level]));
      });
      if (group.levels.length > 7) host.append(el("p", { class: "tablenote" }, "More groups than colours: colours repeat."));
    } else {
      const values = map.values[name];
      const [low, high] = innerRange(values);
      paint = (i) => (values[i] === null ? cssColour(0) : ramp((values[i] - low) / (high - low)));
      host.append(el("span", { class: "key" }, fmt(low)), el("span", { class: "ramp" }), el("span", { class: "key" }, `${fmt(high)} (1st to 99th percentile)`));
    }
    pen.globalAlpha = 0.75;
    for (const i of order) {
      if (map.x[i] === null || map.y[i] === null) continue;
      pen.fillStyle = paint(i);
      pen.beginPath();
      pen.arc(x(map.x[i]), y(map.y[i]), size, 0, 7);
      pen.fill();
    }
    canvas.setAttribute("aria-label", `Two-dimensional map of ${map.x.length} cells, coloured by ${name}`);
  };
  select.addEventListener("change", redraw);
  window.addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  redraw();
}
