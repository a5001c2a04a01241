"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, parent, text) {
  const made = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

const rgb = (color) => `rgb(${color.join(",")})`;
const short = (value) => (value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(2) : String(Number(value.toPrecision(4))));

/** Round numbers between two bounds. */
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + 1e-9 * step; index++) found.push(index * step);
  return found;
}

/** Index of the value in an ascending array that is nearest to x. */
function nearest(values, x) {
  let best = 0;
  values.forEach((value, index) => { if (Math.abs(value - x) < Math.abs(values[best] - x)) best = index; });
  return best;
}

const FRAME = { width: 560, height: 280, left: 64, right: 12, top: 10, bottom: 40 };

function frame(svg, low, high, yLabel) {
  const f = FRAME;
  const y = (value) => f.height - f.bottom - ((value - low) / (high - low || 1)) * (f.height - f.top - f.bottom);
  for (const value of ticks(low, high, 5)) {
    element("svg:line", { x1: f.left, x2: f.width - f.right, y1: y(value), y2: y(value), class: "grid" }, svg);
    element("svg:text", { x: f.left - 6, y: y(value) + 4, "text-anchor": "end" }, svg, short(value));
  }
  element("svg:text", { transform: `translate(12 ${f.height / 2}) rotate(-90)`, "text-anchor": "middle" }, svg, yLabel);
  return y;
}

function drawChart(panel, parent) {
  const f = FRAME;
  const figure = element("figure", {}, parent);
  const caption = element("figcaption", {}, figure, panel.title);
  for (const line of panel.lines) {
    const entry = element("span", {}, caption);
    element("i", { style: `background:${line.color}` }, entry);
    entry.append(line.name);
  }
  const svg = element("svg:svg", { viewBox: `0 0 ${f.width} ${f.height}`, role: "img", tabindex: 0, "aria-label": `${panel.title} against ${panel.x_label}` }, figure);
  const reading = element("div", { class: "reading", role: "status" }, figure);
  const filled = panel.lines.filter((line) => line.x.length);
  if (!filled.length) return;
  const xs = filled.flatMap((line) => [line.x[0], line.x[line.x.length - 1]]);
  const ys = filled.flatMap((line) => line.y);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const y = frame(svg, ys.reduce((a, b) => Math.min(a, b)), ys.reduce((a, b) => Math.max(a, b)), panel.y_label);
  const x = (value) => f.left + ((value - x0) / (x1 - x0 || 1)) * (f.width - f.left - f.right);
  for (const value of ticks(x0, x1, 6)) element("svg:text", { x: x(value), y: f.height - f.bottom + 18, "text-anchor": "middle" }, svg, short(value));
  element("svg:text", { x: f.width / 2, y: f.height - 6, "text-anchor": "middle" }, svg, panel.x_label);
  for (const line of filled) {
    const points = line.x.map((value, index) => `${x(value).toFixed(1)},${y(line.y[index]).toFixed(1)}`).join(" ");
    element("svg:polyline", { points, fill: "none", stroke: line.color, "stroke-width": 2 }, svg);
    if (line.best) {
      const [bx, by] = [x(line.best[0]), y(line.best[1])];
      element("svg:path", { d: `M${bx} ${by - 7}l6 7l-6 7l-6 -7z`, fill: line.color, class: "dot" }, svg);
    }
  }
  const cursor = element("svg:line", { y1: f.top, y2: f.height - f.bottom, class: "cursor", visibility: "hidden" }, svg);
  const grid = filled.reduce((longest, line) => (line.x.length > longest.length ? line.x : longest), []);
  let place = grid.length - 1;
  const show = (index) => {
    place = Math.min(grid.length - 1, Math.max(0, index));
    cursor.setAttribute("x1", x(grid[place]));
    cursor.setAttribute("x2", x(grid[place]));
    cursor.setAttribute("visibility", "visible");
    const values = filled.map((line) => `${line.name} ${short(line.y[nearest(line.x, grid[place])])}`);
    reading.textContent = `${panel.x_label} ${short(grid[place])}: ${values.join(", ")}`;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * f.width;
    show(nearest(grid, x0 + ((at - f.left) / (f.width - f.left - f.right)) * (x1 - x0)));
  });
  svg.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(place + steps[event.key]);
  });
  svg.addEventListener("focus", () => show(place));
}

/** Every case as a point, and quartiles as a box, per label. */
function drawDistribution(index) {
  const f = FRAME;
  const parent = document.getElementById("distribution");
  parent.replaceChildren();
  const metric = data.metrics[index];
  const figure = element("figure", {}, parent);
  const svg = element("svg:svg", { viewBox: `0 0 ${f.width} ${f.height}`, role: "img", "aria-label": `${metric.name} of every case` }, figure);
  const reading = element("div", { class: "reading", role: "status" }, figure);
  svg.style.maxWidth = "48rem";
  const all = data.rows.map((row) => row.values[index]).filter((value) => value !== null);
  if (!all.length) { reading.textContent = `${metric.name} is undefined in every case.`; return; }
  const y = frame(svg, Math.min(...all), Math.max(...all), metric.name);
  const names = [...new Set(data.rows.map((row) => row.label))];
  names.forEach((name, order) => {
    const rows = data.rows.filter((row) => row.label === name);
    const points = rows.filter((row) => row.values[index] !== null);
    const sorted = points.map((row) => row.values[index]).sort((a, b) => a - b);
    const quantile = (share) => {
      const at = share * (sorted.length - 1), low = Math.floor(at);
      return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
    };
    const width = (f.width - f.left - f.right) / names.length;
    const centre = f.left + width * (order + 0.5);
    const color = rgb((data.labels.find((label) => label.name === name) ?? { color: [128, 128, 128] }).color);
    const missing = rows.length - points.length;
    element("svg:text", { x: centre, y: f.height - f.bottom + 18, "text-anchor": "middle" }, svg, missing ? `${name} (${missing} undefined)` : name);
    if (!sorted.length) return;
    const half = Math.min(40, width / 4);
    element("svg:rect", { x: centre - half, width: 2 * half, y: y(quantile(0.75)), height: Math.max(1, y(quantile(0.25)) - y(quantile(0.75))), fill: color, "fill-opacity": 0.2, stroke: color }, svg);
    element("svg:line", { x1: centre - half, x2: centre + half, y1: y(quantile(0.5)), y2: y(quantile(0.5)), stroke: color, "stroke-width": 3 }, svg);
    points.forEach((row, number) => {
      const shift = (((number * 0.618034) % 1) - 0.5) * 1.6 * half;
      const text = `${row.case}, ${name}: ${row.values[index].toFixed(metric.decimals)}`;
      const dot = element("svg:circle", { cx: centre + shift, cy: y(row.values[index]), r: 4, fill: color, class: "dot" }, svg);
      element("svg:title", {}, dot, text);
      dot.addEventListener("pointerenter", () => { reading.textContent = text; });
    });
  });
}

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
    count.textContent = `${shown.length} of ${data.rows.length} rows`;
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

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function setUpCase(article) {
  const item = data.cases[Number(article.dataset.index)];
  const [image, reference, prediction] = await Promise.all([item.image, item.reference, item.prediction].map(unpack));
  const canvas = article.querySelector("canvas");
  const [slice, opacity, axis] = ["slice", "opacity", "axis"].map((name) => article.querySelector(`.${name}`));
  const strides = [item.shape[1] * item.shape[2], item.shape[2], 1];
  const names = ["image", "reference", "prediction", "error"];
  const colors = { reference: data.labels.map((label) => label.color), prediction: data.labels.map((label) => label.color), error: data.errors };

  function draw() {
    const across = Number(axis.value), at = Number(slice.value), share = Number(opacity.value) / 100;
    const [down, right] = [0, 1, 2].filter((other) => other !== across);
    const [rows, columns] = [item.shape[down], item.shape[right]];
    // Row 0 is on top: the front of an axial slice, the head in the others.
    const voxel = (row, column) => at * strides[across] + (across === 0 ? row : rows - 1 - row) * strides[down] + column * strides[right];
    const value = {
      reference: (v) => reference[v],
      prediction: (v) => prediction[v],
      error: (v) => (reference[v] === prediction[v] ? 0 : prediction[v] === 0 ? 1 : reference[v] === 0 ? 2 : 3),
    };
    const width = 270, height = Math.round((width * rows * item.spacing_mm[down]) / (columns * item.spacing_mm[right]));
    const gap = 6, title = 18;
    canvas.width = 4 * width + 3 * gap;
    canvas.height = height + title;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.font = "13px system-ui, sans-serif";
    context.fillStyle = "#fff";
    names.forEach((name, order) => {
      const pixels = new ImageData(columns, rows);
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          const v = voxel(row, column), to = 4 * (row * columns + column), grey = image[v];
          const label = name === "image" ? 0 : value[name](v);
          const color = label ? colors[name][Math.min(label, colors[name].length) - 1] : null;
          const mix = name === "error" && share > 0 ? Math.max(share, 0.8) : share;
          for (let part = 0; part < 3; part++) pixels.data[to + part] = color ? Math.round((1 - mix) * grey + mix * color[part]) : grey;
          pixels.data[to + 3] = 255;
        }
      }
      const small = element("canvas", { width: columns, height: rows });
      small.getContext("2d").putImageData(pixels, 0, 0);
      const left = order * (width + gap);
      context.fillText(name, left + 2, 13);
      context.drawImage(small, left, title, width, height);
      if (share > 0 && (name === "reference" || name === "prediction")) outline(context, rows, columns, left, title, width / columns, height / rows, (r, c) => value[name](voxel(r, c)), colors[name]);
    });
    slice.nextElementSibling.textContent = item.first[across] + at * item.step;
    opacity.nextElementSibling.textContent = `${opacity.value} %`;
  }

  function turn() {
    slice.max = item.shape[Number(axis.value)] - 1;
    slice.value = item.best[Number(axis.value)];
    draw();
  }
  for (const control of [slice, opacity]) control.addEventListener("input", draw);
  axis.addEventListener("change", turn);
  turn();
}

/** Lines along the edges of voxels, where a label meets another. */
function outline(context, rows, columns, left, top, dx, dy, value, colors) {
  context.lineWidth = 1.5;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const here = value(row, column);
      if (!here) continue;
      const [x, y] = [left + column * dx, top + row * dy];
      const differs = (r, c) => r < 0 || c < 0 || r >= rows || c >= columns || value(r, c) !== here;
      context.strokeStyle = rgb(colors[Math.min(here, colors.length) - 1]);
      context.beginPath();
      if (differs(row - 1, column)) { context.moveTo(x, y); context.lineTo(x + dx, y); }
      if (differs(row + 1, column)) { context.moveTo(x, y + dy); context.lineTo(x + dx, y + dy); }
      if (differs(row, column - 1)) { context.moveTo(x, y); context.lineTo(x, y + dy); }
      if (differs(row, column + 1)) { context.moveTo(x + dx, y); context.lineTo(x + dx, y + dy); }
      context.stroke();
    }
  }
}

data.curves.forEach((panel) => drawChart(panel, document.getElementById("curves")));
if (data.rows.length) {
  const metric = document.getElementById("metric");
  data.metrics.forEach((item, index) => element("option", { value: index }, metric, item.name));
  metric.addEventListener("change", () => drawDistribution(Number(metric.value)));
  drawDistribution(0);
  setUpTable();
}
Promise.all([...document.querySelectorAll(".case")].map(setUpCase)).then(() => document.body.setAttribute("data-ready", ""));
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((item) => { item.open = true; }));
