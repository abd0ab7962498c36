// A table that sorts by any column and pages; rows are indices, columns say how to show and how to sort them.
// column: {name, words, title, num, show(i) -> text or node, value(i) -> what to sort and download by, first: "ascending"|"descending"}
function makeTable(host, { caption, columns, detail, perPage = 25, sort, file }) {
  const state = { rows: [], page: 0, sort: sort.column, direction: sort.direction };
  const head = el("tr");
  const body = el("tbody");
  const status = el("span", { "aria-live": "polite" });
  const table = el("table", {}, [el("caption", { class: "visually-hidden" }, caption), el("thead", {}, head), body]);
  const pager = el("div", { class: "pager" });
  const button = (words, label, step) => el("button", { type: "button", "aria-label": label, onclick: () => { state.page += step; render(); } }, words);
  const previous = button("‹ Previous", "Previous page", -1);
  const next = button("Next ›", "Next page", 1);
  pager.append(previous, next, status, downloadButton("Download these rows (TSV)", file, () => [columns.map((c) => c.name)].concat(state.rows.map((i) => columns.map((c) => c.value(i))))));

  function compare(a, b) {
    const column = columns.find((c) => c.name === state.sort);
    const [u, v] = [column.value(a), column.value(b)];
    const missing = (w) => w === null || w === undefined || w === "";
    // Missing values come last whichever the direction; ties keep the order of the rank.
    if (missing(u) || missing(v)) return (missing(u) ? 1 : 0) - (missing(v) ? 1 : 0) || a - b;
    const order = typeof u === "string" ? u.localeCompare(v, "en") : u - v;
    return (state.direction === "ascending" ? order : -order) || a - b;
  }

  function setSort(column) {
    if (state.sort === column.name) state.direction = state.direction === "ascending" ? "descending" : "ascending";
    else { state.sort = column.name; state.direction = column.first || (column.num ? "descending" : "ascending"); }
    state.page = 0;
    state.rows.sort(compare);
    render();
  }

  function toggle(row, i, opener) {
    const open = opener.getAttribute("aria-expanded") === "true";
    opener.setAttribute("aria-expanded", String(!open));
    opener.textContent = open ? "+" : "−";
    if (open) row.nextSibling.remove();
    else row.after(el("tr", { class: "detail" }, el("td", { colspan: columns.length + 1 }, detail(i))));
  }

  function render() {
    const pages = Math.max(1, Math.ceil(state.rows.length / perPage));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    clear(head);
    if (detail) head.append(el("th", { scope: "col" }, el("span", { class: "visually-hidden" }, "Evidence")));
    for (const column of columns) {
      const active = state.sort === column.name;
      const arrow = active ? (state.direction === "ascending" ? " ▲" : " ▼") : "";
      head.append(el("th", { scope: "col", class: column.cls || (column.num ? "num" : null), "aria-sort": active ? state.direction : "none" },
        el("button", { type: "button", class: "sort", title: column.title || null, onclick: () => { setSort(column); head.querySelector("[aria-sort]:not([aria-sort=none]) button").focus(); } }, column.words + arrow)));
    }
    clear(body);
    for (const i of state.rows.slice(state.page * perPage, (state.page + 1) * perPage)) {
      const row = el("tr");
      if (detail) {
        const opener = el("button", { type: "button", class: "open", "aria-expanded": "false", "aria-label": "Show the evidence of this edge" }, "+");
        opener.addEventListener("click", () => toggle(row, i, opener));
        row.append(el("td", {}, opener));
      }
      for (const column of columns) row.append(el("td", { class: column.cls || (column.num ? "num" : null) }, column.show ? column.show(i) : fmt(column.value(i))));
      body.append(row);
    }
    if (!state.rows.length) body.append(el("tr", {}, el("td", { colspan: columns.length + 1 }, "No row fits.")));
    previous.disabled = state.page === 0;
    next.disabled = state.page >= pages - 1;
    status.textContent = `${fmt(state.rows.length)} rows, page ${state.page + 1} of ${pages}`;
  }

  host.append(el("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: 0 }, table), pager);
  return { set(rows) { state.rows = rows.sort(compare); state.page = 0; render(); } };
}

// A small table that neither sorts nor pages. Cells are text or nodes; num marks numeric columns.
function plainTable(caption, heads, rows, { num = [], wrap = [], rowClass } = {}) {
  const cls = (i) => (num.includes(i) ? "num" : wrap.includes(i) ? "short" : null);
  const body = rows.map((row, r) => el("tr", { class: rowClass ? rowClass(r) : null }, row.map((value, i) => el(i === 0 ? "th" : "td", i === 0 ? { scope: "row", class: cls(0) } : { class: cls(i) }, value))));
  return el("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: 0 },
    el("table", {}, [el("thead", {}, el("tr", {}, heads.map((h, i) => el("th", { scope: "col", class: cls(i) }, h)))), el("tbody", {}, body)]));
}
