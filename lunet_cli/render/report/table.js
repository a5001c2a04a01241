/** Decreasing badness: what is undefined comes first, then what is far from good. */
function badness(value, better) {
  if (value === null) return Infinity;
  return better === "higher" ? -value : better === "zero" ? Math.abs(value) : value;
}

function setUpTable() {
  const columns = [
    { name: "case", of: (row) => row.case },
    { name: "label", of: (row) => row.label },
    ...data.metrics.map((metric, index) => ({ name: metric.name, metric, of: (row) => row.values[index] })),
    { name: "prediction ml", of: (row) => row.prediction_ml },
    { name: "reference ml", of: (row) => row.reference_ml },
  ];
  const table = document.getElementById("table");
  const [filter, label, count] = ["filter", "label", "count"].map((id) => document.getElementById(id));
  let sorted = { column: columns.find((column) => column.metric), worst: true };
  const head = element("tr", {}, table.tHead);
  for (const column of columns) {
    const cell = element("th", { scope: "col" }, head);
    const button = element("button", { type: "button" }, cell, column.name);
    if (column.metric) button.title = column.metric.definition;
    button.addEventListener("click", () => {
      sorted = { column, worst: sorted.column === column ? !sorted.worst : true };
      fill();
    });
    column.cell = cell;
  }
  const order = (a, b) => {
    const { column, worst } = sorted;
    const keys = [a, b].map((row) => (column.metric ? -badness(column.of(row), column.metric.better) : column.of(row)));
    const result = typeof keys[0] === "string" ? keys[0].localeCompare(keys[1], undefined, { numeric: true }) : keys[0] === keys[1] ? 0 : keys[0] - keys[1];
    return worst ? result : -result;
  };
  const links = new Map(data.cases.map((item, index) => [item.name, index]));
  function fill() {
    const wanted = filter.value.trim().toLowerCase();
    const shown = data.rows.filter((row) => (!label.value || row.label === label.value) && `${row.case} ${row.label}`.toLowerCase().includes(wanted)).sort(order);
    table.tBodies[0].replaceChildren(...shown.map((row) => {
      const line = element("tr", {});
      for (const column of columns) {
        const value = column.of(row);
        const cell = element(column.name === "case" ? "th" : "td", column.name === "case" ? { scope: "row" } : {}, line);
        if (column.name === "case" && links.has(value)) element("a", { href: `#case-${links.get(value)}` }, cell, value);
        else cell.textContent = value === null ? "undefined" : typeof value === "number" ? value.toFixed(column.metric ? column.metric.decimals : 2) : value;
      }
      return line;
    }));
    const by = [label.value, wanted].filter(Boolean).map((words) => `"${words}"`).join(" and ");
    count.textContent = `${shown.length} of ${data.rows.length} rows${by ? `, only those with ${by}` : ""}`;
    for (const column of columns) {
      const direction = column !== sorted.column ? "none" : (column.metric && column.metric.better === "higher") === sorted.worst || !column.metric && sorted.worst ? "ascending" : "descending";
      column.cell.setAttribute("aria-sort", direction);
      column.cell.firstChild.textContent = column.name + (column === sorted.column ? (direction === "ascending" ? " ▲" : " ▼") : "");
    }
  }
  for (const name of new Set(data.rows.map((row) => row.label))) element("option", { value: name }, label, name);
  filter.addEventListener("input", fill);
  label.addEventListener("change", fill);
  fill();
}

