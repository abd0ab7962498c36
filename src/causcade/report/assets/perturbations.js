// One perturbation at a time: shares, the cascade by hop, its paths, and what resembles it.
const PER_LAYER = 8;
const SHARES = [["share_direct", "direct", 1], ["share_propagated", "propagated", 3], ["share_shared", "shared by all perturbations", 5]];

function drawShares(entry) {
  const parts = SHARES.map(([key, words, slot]) => ({ words, slot, value: entry[key] }));
  const known = parts.reduce((sum, p) => sum + Math.max(0, p.value || 0), 0);
  parts.push({ words: "unexplained", slot: 0, value: Number((1 - parts.reduce((sum, p) => sum + (p.value || 0), 0)).toPrecision(3)) });
  const total = Math.max(1, known);
  const root = svg("svg", { viewBox: "0 0 720 30", role: "img", "aria-label": "Shares of the response: " + parts.map((p) => `${p.words} ${percent(p.value)}`).join(", ") });
  let x = 0;
  for (const p of parts) {
    const width = (Math.max(0, p.value || 0) / total) * 720;
    root.append(svg("rect", { x, y: 2, width, height: 26, style: `fill:${colour(p.slot)}`, class: p.slot === 0 ? "faint" : null }, svg("title", {}, `${p.words}: ${percent(p.value)}`)));
    x += width;
  }
  const keys = parts.map((p) => el("span", { class: "key" }, [el("span", { class: "dot" + (p.slot === 0 ? " faint" : ""), style: `background:${colour(p.slot)}` }), `${p.words} ${percent(p.value)}`]));
  return el("figure", {}, [el("div", { class: "shares" }, root), el("div", { class: "legend" }, keys),
    el("figcaption", {}, [el("strong", {}, "Parts of the response, as shares of its variance."), " A negative share means that the part points the other way; the bar then cannot show the sum.",
      entry.share_unlisted === undefined || entry.share_unlisted === null ? "" : ` Within the propagated part, ${percent(entry.share_unlisted)} of the whole response needs pairs that are no candidate edges.`])]);
}

// Layers: the perturbation, its targets, then the strongest genes of each hop. Links are edges of the network; genes of the best paths are taken in.
function cascadeLayers(entry) {
  const layers = [entry.direct.filter((d) => d[2]).slice(0, PER_LAYER).map((d) => ({ code: d[0], effect: d[1], seen: d[3] }))];
  for (let hop = 1; hop <= 3 && entry.hops[hop] && entry.hops[hop].length; hop += 1) layers.push(entry.hops[hop].slice(0, PER_LAYER).map(([code, effect]) => ({ code, effect })));
  return layers;
}

function drawCascade(name, entry) {
  const layers = cascadeLayers(entry);
  if (!layers[0].length) return el("p", { class: "absent" }, "No target of this perturbation is in the panel, so there is no cascade to draw.");
  const [node, gap, step, top] = [104, 92, 46, 40];
  const columns = layers.length + 1;
  const width = columns * node + (columns - 1) * gap + 4;
  const height = top + Math.max(...layers.map((l) => l.length)) * step + 10;
  const left = (column) => 2 + column * (node + gap);
  const y = (layer, k) => top + (height - top - 10) / 2 + (k - (layers[layer].length - 1) / 2) * step - 6;
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, style: `min-width:${Math.round(width * 0.85)}px;max-width:${Math.round(width * 1.25)}px`, role: "group", "aria-label": `Cascade of ${name}` });
  ["perturbation", "targets", "hop 1", "hop 2", "hop 3"].slice(0, columns).forEach((words, c) => root.append(text(left(c) + node / 2, 14, words, { class: "axis-title", "text-anchor": "middle" })));
  const middle = top + (height - top - 10) / 2 - 6;
  const largest = (list) => Math.max(1e-9, ...list.map((v) => Math.abs(v)));
  const strongest = largest(layers[0].map((d) => d.effect || 0));
  layers[0].forEach((d, k) => {
    if (d.effect) root.append(edgeShape(left(0) + node + 4, middle, left(1) - 6, y(0, k), d.effect, 1 + 3 * Math.abs(d.effect) / strongest, `${name} → ${gene(d.code)}: direct effect ${signed(d.effect)} (${DATA.unit})`));
  });
  const widest = largest(entry.links.map((l) => l[3]));
  const links = entry.links.map(([layer, from, to, effect]) => ({ layer, from, to, effect, a: layers[layer].findIndex((d) => d.code === from), b: (layers[layer + 1] || []).findIndex((d) => d.code === to) })).filter((l) => l.a >= 0 && l.b >= 0);
  // Lines that end at one gene land beside each other, in the order in which they come from above.
  const landing = (l) => {
    const others = links.filter((m) => m.layer === l.layer && m.b === l.b).sort((p, q) => p.a - q.a);
    return (others.indexOf(l) - (others.length - 1) / 2) * Math.min(9, 20 / Math.max(1, others.length - 1));
  };
  for (const l of links) {
    const { layer, from, to, effect, a, b } = l;
    root.append(edgeShape(left(layer + 1) + node + 4, y(layer, a), left(layer + 2) - 6, y(layer + 1, b) + landing(l), effect, 0.8 + 2.6 * Math.abs(effect) / widest, `${gene(from)} ${effect > 0 ? "activates" : "represses"} ${gene(to)}: effect ${signed(effect)} log2 per log2`));
  }
  root.append(nodeShape(left(0), middle, node, name, { cls: "centre", title: name }));
  layers.forEach((list, layer) => list.forEach((d, k) => root.append(nodeShape(left(layer + 1), y(layer, k), node, gene(d.code), { cls: d.effect > 0 ? "up" : d.effect < 0 ? "down" : "", note: `${d.effect > 0 ? "▲" : d.effect < 0 ? "▼" : ""} ${signed(d.effect)}`,
    title: `${gene(d.code)}: ${signed(d.effect)} (${DATA.unit})${layer === 0 && d.seen === 0 ? ", its own mRNA was not seen to move" : ""}`, onclick: () => { if (!byId("ego")) return; showGene(d.code); byId("ego").scrollIntoView({ block: "center" }); } }))));
  return el("figure", {}, [el("div", { class: "drawing", tabindex: 0, role: "region", "aria-label": "Cascade, drawing" }, root), el("figcaption", {}, [el("strong", {}, "Cascade by hop."),
    ` Numbers below genes are what reaches them at that hop (${DATA.unit}; ▲ up, ▼ down). Lines are edges of the network between shown genes: `, el("span", { class: "act" }, "blue arrows"), " activate, ", el("span", { class: "rep" }, "orange bars"),
    ` repress. At most ${PER_LAYER} genes a hop; a gene without a line is reached through genes that are not shown.`])]);
}

function pathNode(path, signs) {
  const node = el("span", { class: "path" });
  path.forEach((code, i) => {
    if (i) node.append(el("span", { class: signs[i - 1] > 0 ? "act" : signs[i - 1] < 0 ? "rep" : null }, signs[i - 1] > 0 ? " → " : signs[i - 1] < 0 ? " ⊣ " : " · "));
    node.append(gene(code));
  });
  return node;
}

function perturbationTables(name, entry, has, go) {
  const parts = [];
  const add = (head, note, node) => parts.push(el("div", { class: "part" }, [el("h4", {}, head), node, note ? el("p", { class: "tablenote" }, note) : null]));
  if (has.paths) {
    if (entry.paths.length) add("Strongest paths", `Effect of the path on its last gene (${DATA.unit}). Curated: edges of the path that a curated source lists.`, plainTable("Paths", ["Path", "Effect", "Edges", "Curated"],
      entry.paths.map(([path, signs, effect, curated]) => [pathNode(path, signs), signed(effect), fmt(path.length - 1), fmt(curated)]), { num: [1, 2, 3] }));
    else add("Strongest paths", "", el("p", { class: "absent" }, "No path was found from its targets."));
  }
  if (has.direct && entry.direct.length) add("Direct effects", "“Seen”: whether the mRNA of the target itself was seen to move; a target that is not seen acts through its activity.", plainTable("Direct effects", ["Gene", `Direct effect (${DATA.unit})`, "Listed target", "Seen"],
    entry.direct.map(([code, effect, target, seen]) => [gene(code), signed(effect), target ? "yes" : "no", seen ? "yes" : "no"]), { num: [1] }));
  const hops = Object.keys(entry.hops);
  if (hops.length) {
    const most = Math.max(...hops.map((hop) => entry.hops[hop].length));
    const rows = Array.from({ length: most }, (_, k) => [String(k + 1), ...hops.flatMap((hop) => (entry.hops[hop][k] ? [gene(entry.hops[hop][k][0]), signed(entry.hops[hop][k][1])] : ["", ""]))]);
    add("Strongest genes by hop", `Effect that reaches the gene at that hop (${DATA.unit}).`, plainTable("Strongest genes by hop", ["", ...hops.flatMap((hop) => [`Hop ${hop}`, "Effect"])], rows, { num: hops.map((_, k) => 2 * k + 2) }));
  }
  if (has.similar) add("Similar perturbations", "Cosine of the predicted responses (−1 to 1).", entry.similar.length ? plainTable("Similar perturbations", ["Perturbation", "Cosine", "Shared targets"],
    entry.similar.map(([other, cosine, shared]) => [el("button", { type: "button", class: "link", onclick: () => go(other) }, other), fmt(cosine), shared || NONE]), { num: [1] }) : el("p", { class: "absent" }, "None was compared."));
  if (has.sets) add("Gene sets", "Hypergeometric test of the strongest genes; false discovery rate (Benjamini-Hochberg) of at most 0.25.", entry.sets.length ? plainTable("Gene sets", ["Gene set", "Collection", "Hits", "Size", "Expected", "p", "FDR"],
    entry.sets.map(([collection, set, hits, size, expected, p, fdr]) => [set.replaceAll("_", " "), collection, fmt(hits), fmt(size), fmt(expected), fmt(p, 2), fmt(fdr, 2)]), { num: [2, 3, 4, 5, 6], wrap: [0] }) : el("p", { class: "absent" }, "No gene set passes."));
  else add("Gene sets", "", el("p", { class: "absent" }, "No gene sets were tested in this run: cascades/gene_sets.parquet is absent."));
  return el("div", { class: "parts" }, parts);
}

function startPerturbations() {
  if (!DATA.perturbations) return;
  const { entries, has } = DATA.perturbations;
  const names = Object.keys(entries).sort((a, b) => a.localeCompare(b, "en"));
  const input = byId("pert-name");
  byId("pert-names").append(...names.map((name) => el("option", { value: name })));
  // Start with one that has something to show: the best predicted among those with paths.
  const start = [...names].sort((a, b) => (entries[b].paths.length > 0) - (entries[a].paths.length > 0) || (entries[b].correlation || 0) - (entries[a].correlation || 0))[0];
  let shown = start;
  function show(name) {
    shown = name;
    input.value = name;
    const entry = entries[name];
    const unit = (count, word) => `${fmt(count)} ${word}${count === 1 ? "" : "s"}`;
    const host = clear(byId("pert"));
    host.append(el("h3", { id: "pert-title" }, name),
      el("p", {}, `${unit(entry.num_targets, "listed target")} in the panel; ${unit(entry.num_conditions, "condition")}, ${unit(entry.num_cells, "cell")}. Predicted against observed response: r = ${fmt(entry.correlation)} over genes (on data that was fitted).`),
      drawShares(entry), drawCascade(name, entry), perturbationTables(name, entry, has, show));
  }
  input.addEventListener("change", () => {
    const wanted = input.value.trim().toLowerCase();
    const name = names.find((n) => n.toLowerCase() === wanted) || (wanted && names.find((n) => n.toLowerCase().includes(wanted)));
    if (name) show(name);
    else clear(byId("pert")).append(el("p", { class: "absent" }, `No perturbation is called ${input.value.trim() || "that"}. Choose one from the list.`));
  });
  const move = (step) => show(names[(names.indexOf(shown) + step + names.length) % names.length]);
  byId("pert-previous").addEventListener("click", () => move(-1));
  byId("pert-next").addEventListener("click", () => move(1));
  show(start);
}
