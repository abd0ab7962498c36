// Scores of every ranking on the chosen reference and subset of edges: intervals, curves, table, gains over the nulls.
const SUMMARY_METRICS = ["auprc", "same_source_auroc", "degree_matched_auprc", "auroc", "better_direction_auprc", "lift", "early_precision", "early_precision_ratio", "direction_accuracy", "sign_accuracy"];
const CHANCE = { auroc: 0.5, same_source_auroc: 0.5, same_target_auroc: 0.5, direction_accuracy: 0.5, sign_accuracy: 0.5, lift: 1 };

function startEvaluation() {
  const ev = DATA.evaluation;
  if (!ev) return;
  const [reference, subset, metric] = ["eval-reference", "eval-subset", "eval-metric"].map(byId);
  const words = Object.fromEntries(ev.metrics);
  const metrics = SUMMARY_METRICS.filter((m) => m in words).concat(ev.metrics.map((m) => m[0]).filter((m) => !SUMMARY_METRICS.includes(m)));
  options(reference, ev.references, ev.references[0][0]);
  options(metric, metrics.map((m) => [m, words[m]]), metrics[0]);
  // Switched-off curves stay off when another reference is chosen.
  const hidden = { roc: new Set(), pr: new Set() };
  for (const name of ev.order) if (/null[1-9]/.test(name)) { hidden.roc.add(name); hidden.pr.add(name); }

  const score = (name, m) => { const e = current(); return (e && e.rankings[name] && e.rankings[name][m]) || [null, null, null, ""]; };
  const current = () => (ev.scores[reference.value] || {})[subset.value];
  const colourOf = (name) => ev.rankings[name].colour;

  function forest() {
    const entry = current();
    const m = metric.value;
    const base = (entry.base_rate || {})[m];
    const chance = base !== undefined ? base : m === "auprc" || m === "early_precision" ? entry.prevalence : CHANCE[m];
    const items = ev.order.map((name) => { const [value, low, high] = score(name, m); return { name: name.replaceAll("_", " "), value, low, high, colour: colourOf(name), note: ev.rankings[name].words }; });
    const host = clear(byId("eval-forest"));
    if (items.every((i) => i.value === null)) host.append(el("p", { class: "absent" }, `${words[m]} is not defined here.`));
    else draw(host, { kind: "forest", title: `${words[m]} on ${reference.value}`, x: words[m], items, marks: chance === undefined || chance === null ? [] : [{ x: chance, label: `random order: ${fmt(chance)}` }], tight: m.endsWith("auroc") || m.endsWith("accuracy") });
  }

  function curves(kind, id, x, y) {
    const found = ((ev.curves[reference.value] || {})[subset.value] || {})[kind];
    const host = clear(byId(id));
    if (!found) { host.append(el("p", { class: "absent" }, "No curve was computed for this choice.")); return; }
    const series = ev.order.filter((name) => found[name]).map((name) => ({ name, x: found[name][0], y: found[name][1], colour: colourOf(name), dash: ev.rankings[name].dash, wide: name === "causal", note: ev.rankings[name].words }));
    const figure = { kind: "lines", title: `${kind === "roc" ? "ROC" : "Precision-recall"} on ${reference.value}`, x, y, series, xRange: [0, 1], hidden: hidden[kind] };
    if (kind === "roc") { figure.diagonal = true; figure.yRange = [0, 1]; } else figure.marks = [{ y: current().prevalence, label: "random order" }];
    draw(host, figure);
  }

  function table() {
    const shown = ev.order.filter((name) => current().rankings[name]);
    // The table holds what leads, as far as this reference has it; every metric is in the download and in the first figure.
    const columns = SUMMARY_METRICS.filter((m) => shown.some((name) => current().rankings[name][m]));
    const heads = ["Ranking", "What it is", ...columns.map((m) => words[m])];
    const interval = ([value, low, high, note]) => el("span", { title: note || null }, [fmt(value), low === null ? null : el("span", { class: "ci" }, ` [${fmt(low)}, ${fmt(high)}]`)]);
    const rows = shown.map((name) => [el("span", {}, [name.replaceAll("_", " "), ev.rankings[name].is_null ? el("span", { class: "tag" }, "null") : null]), ev.rankings[name].words, ...columns.map((m) => interval(score(name, m)))]);
    const num = columns.map((_, i) => i + 2);
    clear(byId("eval-table")).append(plainTable("Scores of every ranking", heads, rows, { num, wrap: [1], rowClass: (r) => (ev.rankings[shown[r]].is_null ? "null" : shown[r] === "causal" ? "first" : null) }));
    const plain = () => [["reference", "subset", "ranking", ...metrics.flatMap((m) => [m, m + "_low", m + "_high"])]].concat(shown.map((name) => [reference.value, subset.value, name, ...metrics.flatMap((m) => score(name, m).slice(0, 3))]));
    byId("eval-table").append(el("div", { class: "chart-tools" }, downloadButton("Numbers (TSV)", "scores.tsv", plain)));
  }

  function gains() {
    const host = clear(byId("eval-gains"));
    const rows = ev.gains.filter((g) => g.reference === reference.value && g.subset === subset.value);
    if (!rows.length) { host.append(el("p", { class: "absent" }, "No gains were computed for this choice: the run has no null fits, or the subset is empty.")); return; }
    const heads = ["Metric", "Causal", "Edge null, mean (max)", "Label null, mean (max)", "Gain over edge null", "Gain over label null"];
    const gain = (g, kind) => el("span", {}, [signed(g[`gain_over_${kind}_null`]), typeof g[`gain_over_${kind}_null_low`] === "number" ? el("span", { class: "ci" }, ` [${signed(g[`gain_over_${kind}_null_low`])}, ${signed(g[`gain_over_${kind}_null_high`])}]`) : null]);
    const cells = rows.map((g) => [words[g.metric] || g.metric, fmt(g.value), `${fmt(g.edge_null_mean)} (${fmt(g.edge_null_max)})`, `${fmt(g.label_null_mean)} (${fmt(g.label_null_max)})`, gain(g, "edge"), gain(g, "label")]);
    host.append(plainTable("Gain over the nulls", heads, cells, { num: [1, 2, 3, 4, 5] }));
  }

  function drugs() {
    const host = clear(byId("eval-drugs"));
    const rows = (ev.drugs || []).filter((d) => d.reference === reference.value && d.subset === subset.value);
    if (!rows.length) { host.append(el("p", { class: "absent" }, "Not known for this choice: it takes at least two fits on resampled perturbations (causal.bootstraps)."));  return; }
    const over = (m) => { const [, low, high] = score("causal", m); return low === null ? "–" : `${fmt(low)} to ${fmt(high)}`; };
    const cells = rows.map((d) => [words[d.metric] || d.metric, fmt(d.value), over(d.metric), `${fmt(d.low)} to ${fmt(d.high)}`, fmt(d.num_fits)]);
    host.append(plainTable("Uncertainty over genes and over perturbations", ["Metric", "Causal", "95 % over genes", "95 % over perturbations", "Fits"], cells, { num: [1, 2, 3, 4] }));
  }

  function redraw() {
    const present = ev.subsets.filter(([name]) => (ev.scores[reference.value] || {})[name]);
    if (!present.some(([name]) => name === subset.value)) options(subset, present, present[0][0]);
    const entry = current();
    byId("eval-size").textContent = `${fmt(entry.num_positive)} positives among ${fmt(entry.num_edges)} candidate edges (prevalence ${percent(entry.prevalence)}).`;
    forest();
    curves("roc", "eval-roc", "false positive rate", "true positive rate (recall)");
    curves("pr", "eval-pr", "recall", "precision");
    table();
    gains();
    drugs();
  }
  reference.addEventListener("change", () => { const wanted = subset.value; options(subset, ev.subsets.filter(([name]) => ev.scores[reference.value][name]), wanted); redraw(); });
  subset.addEventListener("change", redraw);
  metric.addEventListener("change", forest);
  redraw();
}
