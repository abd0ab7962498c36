// Small helpers. Text from the data goes into the page only as text nodes and attributes, never as HTML.
const DATA = JSON.parse(document.getElementById("report-data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const NONE = "–";
const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

function byId(id) { return document.getElementById(id); }

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  for (const child of [].concat(children === undefined ? [] : children)) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}

function el(name, attributes, children) { return fill(document.createElement(name), attributes, children); }
function svg(name, attributes, children) { return fill(document.createElementNS(SVG, name), attributes, children); }
function clear(node) { node.replaceChildren(); return node; }

// Like the `number` filter of the page: three digits, thousands apart, powers of ten for what is tiny.
function fmt(value, digits = 3) {
  if (value === null || value === undefined || value === "") return NONE;
  if (typeof value === "string") return value;
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size < 1e-3) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    return `${mantissa.replace("-", "−")}\u00a0×\u00a010${String(Number(exponent)).split("").map((c) => SUPERSCRIPT[c]).join("")}`;
  }
  let text;
  if (Number.isInteger(value) || size >= 1e5) text = Math.round(value).toString();
  else text = value.toFixed(Math.max(0, digits - 1 - Math.floor(Math.log10(size))));
  const [whole, part] = text.replace("-", "−").split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (part ? "." + part : "");
}

function signed(value) { return value > 0 ? "+" + fmt(value) : fmt(value); }
function percent(value) { return value === null || value === undefined ? NONE : fmt(100 * value) + "\u00a0%"; }
function colour(slot) { return `var(--c${slot})`; }
function short(text, most) { return text.length > most ? text.slice(0, most - 1) + "…" : text; }

function options(select, pairs, selected) {
  clear(select);
  for (const [value, words] of pairs) select.append(el("option", { value, selected: value === selected }, words));
}

// A cell that starts with =, +, - or @ would be run as a formula by a spreadsheet; numbers may start with a sign.
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = String(value).replace(/[\t\r\n]+/g, " ");
  return /^[=+\-@]/.test(text) ? "'" + text : text;
}

function download(name, rows) {
  const text = rows.map((row) => row.map(cell).join("\t")).join("\n") + "\n";
  const url = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function downloadButton(words, name, rows) {
  return el("button", { type: "button", class: "quiet", onclick: () => download(name, rows()) }, words);
}

function gene(code) { return DATA.genes[code]; }
