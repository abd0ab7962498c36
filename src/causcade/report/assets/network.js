// Hubs, the table of edges with its evidence, and the drawing of a gene's neighbourhood.
const IDENTIFIABILITY = { direct: "a perturbation hits the regulator", indirect: "no perturbation hits the regulator, but at least two move its mRNA (5 standard errors or more)", none: "no perturbation hits the regulator, and fewer than two move its mRNA" };
const SIGN = { 1: "activates", 0: "no sign", "-1": "represses" };

function signMark(sign) {
  const cls = sign > 0 ? "act" : sign < 0 ? "rep" : null;
  return el("span", { class: cls, title: SIGN[sign] }, sign > 0 ? "→ activates" : sign < 0 ? "⊣ represses" : NONE);
}

// A gene's name, with a tag where the gene is a target that is not measured.
const NOT_MEASURED = new Set(DATA.not_measured);
function geneMark(code) {
  return NOT_MEASURED.has(code) ? el("span", { title: "a listed target that is not measured: the latent estimator alone knows of its edges" }, [gene(code), " ", el("span", { class: "tag" }, "not measured")]) : gene(code);
}

function startHubs() {
  if (!DATA.hubs) return;
  const ranking = byId("hub-ranking");
  const kind = byId("hub-kind");
  options(ranking, DATA.hubs.order.map((name) => [name, name.replaceAll("_", " ")]), DATA.hubs.order[0]);
  const redraw = () => {
    const found = DATA.hubs.rankings[ranking.value][kind.value];
    const host = clear(byId("hub-chart"));
    if (!found) { host.append(el("p", { class: "absent" }, "No such hubs were counted for this ranking.")); return; }
    const out = kind.value === "out";
    const flags = out ? found.is_tf : found.is_drug_target;
    const items = found.gene.slice(0, 25).map((name, i) => ({ name, value: found.degree[i], hollow: !flags[i], colour: ranking.value.includes("null") ? 0 : 1,
      mark: flags[i] ? (out ? "TF" : "target") : "", note: flags[i] ? (out ? "transcription factor" : "drug target") : "" }));
    draw(host, { kind: "bars", title: `Hubs of ${ranking.value}`, x: out ? "targets among the best edges" : "regulators among the best edges", items });
  };
  ranking.addEventListener("change", redraw);
  kind.addEventListener("change", redraw);
  redraw();
}

function edgeDetail(i) {
  const e = DATA.edges;
  const [from, to] = [gene(e.regulator[i]), gene(e.target[i])];
  const sign = e.sign[i];
  const prior = e.prior_sign[i];
  const sources = e.sources.levels[e.sources.codes[i]];
  const curated = sources.split(";").filter((s) => s && s !== "coexpression");
  let agreement;
  if (!curated.length) agreement = "No curated source lists this edge.";
  else if (!prior) agreement = `Listed by ${curated.join(", ")}, without a sign or with contradictory ones.`;
  else if (!sign) agreement = `Curated: ${SIGN[prior]}. The fit gives no sign.`;
  else agreement = `Curated: ${SIGN[prior]}. Learned: ${SIGN[sign]}. They ${prior === sign ? "agree" : "disagree"}.`;
  const hit = e.hit_by[from];
  const identifiability = e.identifiability.levels[e.identifiability.codes[i]];
  const pairs = [
    ...(NOT_MEASURED.has(e.regulator[i]) ? [["Regulator", `${from} is not measured; its activity is inferred from the perturbations that hit it, so the effect in log2 units is not known`]] : []),
    ["Learned sign", signMark(sign)],
    ["Curated sign", agreement],
    ["Effect", `${signed(e.effect[i])} log2 fold change of ${to} per log2 unit of ${from}`],
    ["Weight in the model", `${signed(e.weight[i])} with curated prior, ${signed(e.weight_no_prior[i])} without (${DATA.unit} per ${DATA.unit})`],
    ["Identifiability", `${identifiability}: ${IDENTIFIABILITY[identifiability] || "see the methods"}`],
    ["Perturbations that hit the regulator", hit ? hit[0].join(", ") + (hit[1] > hit[0].length ? ` and ${hit[1] - hit[0].length} more` : "") : e.num_perturbations[i] ? `${fmt(e.num_perturbations[i])}` : "none"],
    ["Residual coexpression r", signed(e.coexpression[i])],
    ["Sources of the candidate", sources.replaceAll(";", ", ")],
    ["Curated confidence (0–1)", fmt(e.prior_confidence[i])],
    ...Object.entries(e.extra).map(([name, values]) => [name.replaceAll("_", " "), fmt(values[i])]),
  ];
  const papers = e.papers[i];
  if (papers) pairs.push(["Literature of the curated sources", el("span", {}, papers.map((id) => el("a", { href: `https://pubmed.ncbi.nlm.nih.gov/${id}/`, rel: "noreferrer", class: "paper" }, `PMID ${id}`)))]);
  const list = el("dl", { class: "pairs" }, pairs.map(([name, value]) => el("div", {}, [el("dt", {}, name), el("dd", {}, value)])));
  const neighbourhoods = (byId("ego") ? [from, to] : []).map((name) => el("button", { type: "button", class: "quiet", onclick: () => { showGene(DATA.genes.indexOf(name)); byId("ego").scrollIntoView({ block: "center" }); } }, `Neighbourhood of ${name}`));
  return el("div", {}, [list, ...neighbourhoods]);
}

function startEdges() {
  const e = DATA.edges;
  const host = byId("edge-table");
  const search = el("input", { type: "search", id: "edge-search", placeholder: "gene, or A>B", autocomplete: "off", spellcheck: "false" });
  const ident = el("select", { id: "edge-identifiability" });
  options(ident, [["", "any"], ...e.identifiability.levels.map((name) => [name, name])], "");
  const sign = el("select", { id: "edge-sign" });
  options(sign, [["", "any"], ["1", "activation"], ["-1", "repression"]], "");
  const source = el("select", { id: "edge-source" });
  options(source, [["", "any"], ["new", "no curated source"], ["curated", "curated"]], "");
  host.append(el("div", { class: "controls" }, [el("label", {}, ["Search ", search]), el("label", {}, ["Identifiability ", ident]), el("label", {}, ["Sign ", sign]), el("label", {}, ["Source ", source])]));
  const column = (name, words, title) => ({ name, words, title, num: true, value: (i) => e[name][i] });
  const sourcesOf = (i) => e.sources.levels[e.sources.codes[i]];
  const identifiabilityOf = (i) => e.identifiability.levels[e.identifiability.codes[i]];
  const columns = [
    { ...column("rank", "Rank", "1 is the best of all candidates; none where the score is 0"), first: "ascending" },
    { name: "regulator", words: "Regulator", value: (i) => gene(e.regulator[i]), show: (i) => geneMark(e.regulator[i]) },
    { name: "target", words: "Target", value: (i) => gene(e.target[i]) },
    { name: "sign", words: "Sign", value: (i) => e.sign[i], show: (i) => signMark(e.sign[i]) },
    { ...column("effect", "Effect (log2 per log2)", "expected log2 fold change of the target per log2 unit of the regulator"), cls: "num unit", show: (i) => signed(e.effect[i]) },
    column("score", "Score", "what the rank is by: the absolute value of the evidence column that ranks"),
    column("probability", "Probability (0–1)", "of the latent estimator; none where no perturbation hits the regulator"),
    column("stability", "Stability (0–1)", "share of fits on resampled perturbations"),
    { name: "identifiability", words: "Identifiability", value: identifiabilityOf },
    column("num_perturbations", "Hit by", "perturbations that hit the regulator"),
    { ...column("coexpression", "Coexpression r"), show: (i) => signed(e.coexpression[i]) },
    { name: "sources", words: "Sources", cls: "short", value: sourcesOf, show: (i) => sourcesOf(i).replaceAll(";", ", ") },
  ];
  const table = makeTable(host, { caption: e.rank.some((rank) => rank !== null) ? "Best edges of the network" : "Candidate edges without a score", columns, detail: edgeDetail, sort: { column: "rank", direction: "ascending" }, file: "edges.tsv" });
  const filter = () => {
    const query = search.value.trim().toLowerCase();
    const parts = query.split(">").map((part) => part.trim());
    const rows = [];
    for (let i = 0; i < e.rank.length; i += 1) {
      const from = gene(e.regulator[i]).toLowerCase();
      const to = gene(e.target[i]).toLowerCase();
      const sources = sourcesOf(i);
      if (parts.length === 2 ? !(from.includes(parts[0]) && to.includes(parts[1])) : !(from.includes(query) || to.includes(query))) continue;
      if (ident.value && identifiabilityOf(i) !== ident.value) continue;
      if (sign.value && String(e.sign[i]) !== sign.value) continue;
      if (source.value && (sources === "coexpression") !== (source.value === "new")) continue;
      rows.push(i);
    }
    table.set(rows);
  };
  search.addEventListener("input", filter);
  for (const select of [ident, sign, source]) select.addEventListener("change", filter);
  filter();
}

// An edge as a curved line; ends in an arrow head (activation) or a bar (repression). Colour is not the only sign.
function edgeShape(x1, y1, x2, y2, effect, width, words) {
  const positive = effect > 0;
  const middle = (x1 + x2) / 2;
  const group = svg("g", { class: positive ? "edge act" : "edge rep" }, svg("title", {}, words));
  group.append(svg("path", { d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`, "stroke-width": width.toFixed(1) }));
  group.append(positive ? svg("path", { class: "head", d: `M${x2 + 1} ${y2}l-9 -4.5v9z` }) : svg("path", { class: "bar", d: `M${x2} ${y2 - 6}v12` }));
  return group;
}

function nodeShape(x, y, width, words, { cls = "", onclick = null, title = "", note = "", height = 24 } = {}) {
  const attributes = { class: `node ${cls}`, transform: `translate(${x} ${y})` };
  if (onclick) Object.assign(attributes, { tabindex: 0, role: "button", "aria-label": `${words} ${note}, show its neighbourhood`, onclick, onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); onclick(); } } });
  const group = svg("g", attributes, svg("title", {}, title || words));
  group.append(svg("rect", { x: 0, y: -height / 2, width, height, rx: 5 }), text(width / 2, 4, short(words, Math.floor(width / 7.2)), { "text-anchor": "middle" }));
  if (note) group.append(text(width / 2, 23, note, { "text-anchor": "middle", class: "tick" }));
  return group;
}

function flagWords(code) {
  const flags = DATA.flags[code] || 0;
  return [flags & 1 ? "transcription factor" : "", flags & 2 ? "RNA-binding protein" : "", flags & 4 ? "drug target" : "", NOT_MEASURED.has(code) ? "not measured" : ""].filter(Boolean).join(", ");
}

const visited = [];

function showGene(code, remember = true) {
  if (!byId("ego")) return;
  const n = DATA.neighbours;
  if (remember && visited[visited.length - 1] !== code) visited.push(code);
  byId("ego-back").disabled = visited.length < 2;
  byId("ego-gene").value = gene(code);
  const edges = n.rank.map((_, i) => i).filter((i) => n.sign[i] !== 0);
  const incoming = edges.filter((i) => n.target[i] === code).slice(0, n.per_side);
  const outgoing = edges.filter((i) => n.regulator[i] === code).slice(0, n.per_side);
  const rows = Math.max(incoming.length, outgoing.length, 1);
  const [width, node, step] = [720, 128, 38];
  const height = rows * step + 40;
  const centre = height / 2 + 8;
  const largest = Math.max(1e-9, ...[...incoming, ...outgoing].map((i) => Math.abs(n.effect[i])));
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Neighbourhood of ${gene(code)}: ${incoming.length} regulators, ${outgoing.length} targets` });
  root.append(text(node / 2 + 4, 14, "regulators", { class: "axis-title", "text-anchor": "middle" }), text(width - node / 2 - 4, 14, "targets", { class: "axis-title", "text-anchor": "middle" }));
  const place = (count, k) => centre + (k - (count - 1) / 2) * step;
  const line = (i) => 1 + 3 * Math.abs(n.effect[i]) / largest;
  const words = (i) => `${gene(n.regulator[i])} ${n.sign[i] > 0 ? "activates" : "represses"} ${gene(n.target[i])}: effect ${signed(n.effect[i])} log2 per log2, rank ${fmt(n.rank[i])}`;
  const middle = (width - node) / 2;
  // The box of the gene is tall enough for every edge to have its own place.
  const landing = (count, k) => centre + (k - (count - 1) / 2) * 14;
  const tall = Math.max(24, 14 * Math.max(incoming.length, outgoing.length) + 6);
  incoming.forEach((i, k) => root.append(edgeShape(node + 6, place(incoming.length, k), middle - 6, landing(incoming.length, k), n.sign[i], line(i), words(i))));
  outgoing.forEach((i, k) => root.append(edgeShape(middle + node + 4, landing(outgoing.length, k), width - node - 8, place(outgoing.length, k), n.sign[i], line(i), words(i))));
  const box = (x, y, other, i) => nodeShape(x, y, node, gene(other), { cls: DATA.flags[other] & 1 ? "tf" : "", note: NOT_MEASURED.has(other) ? "not measured" : "", onclick: () => showGene(other), title: [gene(other), flagWords(other), words(i)].filter(Boolean).join(" – ") });
  incoming.forEach((i, k) => root.append(box(2, place(incoming.length, k), n.regulator[i], i)));
  outgoing.forEach((i, k) => root.append(box(width - node - 2, place(outgoing.length, k), n.target[i], i)));
  root.append(nodeShape(middle, centre, node, gene(code), { cls: "centre", height: tall, title: [gene(code), flagWords(code)].filter(Boolean).join(" – ") }));
  clear(byId("ego")).append(root);
  if (!incoming.length && !outgoing.length) byId("ego").append(el("p", { class: "absent" }, `${gene(code)} has no edge with a score among those kept on this page.`));
}

function startNeighbourhood() {
  if (!byId("ego")) return;
  const input = byId("ego-gene");
  const n = DATA.neighbours;
  const inNetwork = [...new Set([...n.regulator, ...n.target])].sort((a, b) => gene(a).localeCompare(gene(b), "en"));
  const known = new Map(inNetwork.map((code) => [gene(code).toLowerCase(), code]));
  byId("ego-genes").append(...inNetwork.map((code) => el("option", { value: gene(code) })));
  input.addEventListener("change", () => {
    const code = known.get(input.value.trim().toLowerCase());
    if (code !== undefined) showGene(code);
    else clear(byId("ego")).append(el("p", { class: "absent" }, `${input.value.trim() || "That"} is no gene with a scored edge on this page. Choose one from the list.`));
  });
  byId("ego-back").addEventListener("click", () => { visited.pop(); showGene(visited[visited.length - 1], false); });
  if (n.regulator.length) showGene(n.regulator[0]);
}
