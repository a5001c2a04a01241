const DASHES = ["none", "7 3", "9 3 2 3", "2 3"]; // Lines are told apart without colours too.
const FRAME = { width: 560, height: 280, left: 76, right: 28, top: 10, bottom: 48 };

/** The vertical axis; equal values lie in its middle. */
function frame(svg, low, high, yLabel, f = FRAME) {
  if (low === high) {
    const margin = Math.abs(low) / 2 || 0.5;
    [low, high] = [low - margin, high + margin];
  }
  const y = (value) => f.height - f.bottom - ((value - low) / (high - low || 1)) * (f.height - f.top - f.bottom);
  for (const value of ticks(low, high, 7)) {
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
  const grid = panel.x, [x0, x1] = [grid[0], grid[grid.length - 1]];
  const ys = panel.lines.flatMap((line) => line.y).filter((value) => value !== null);
  if (!ys.length) { reading.textContent = "No value is defined."; return; }
  const y = frame(svg, ys.reduce((a, b) => Math.min(a, b)), ys.reduce((a, b) => Math.max(a, b)), panel.y_label);
  const inner = f.width - f.left - f.right;
  const x = (value) => f.left + (x1 > x0 ? (value - x0) / (x1 - x0) : 0.5) * inner;
  const counted = Number(grid.every(Number.isInteger));
  for (const value of ticks(x0, x1, 6, counted)) element("svg:text", { x: x(value), y: f.height - f.bottom + 18, "text-anchor": "middle" }, svg, short(value));
  element("svg:text", { x: f.width / 2, y: f.height - 6, "text-anchor": "middle" }, svg, panel.x_label);
  for (const [index, line] of panel.lines.entries()) {
    const places = grid.map((value, place) => [value, line.y[place]]).filter(([, value]) => value !== null);
    const points = places.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    if (places.length > 1) element("svg:polyline", { points, fill: "none", stroke: line.color, "stroke-width": 2, "stroke-dasharray": DASHES[index % DASHES.length] }, svg);
    else if (places.length) element("svg:circle", { cx: x(places[0][0]), cy: y(places[0][1]), r: 4, fill: line.color }, svg);
    if (line.best) {
      const [bx, by] = [x(line.best[0]), y(line.best[1])];
      element("svg:path", { d: `M${bx} ${by - 7}l6 7l-6 7l-6 -7z`, fill: line.color, class: "dot" }, svg);
    }
  }
  const cursor = element("svg:line", { y1: f.top, y2: f.height - f.bottom, class: "cursor", visibility: "hidden" }, svg);
  let place = grid.length - 1;
  const show = (index) => {
    place = Math.min(grid.length - 1, Math.max(0, index));
    cursor.setAttribute("x1", x(grid[place]));
    cursor.setAttribute("x2", x(grid[place]));
    cursor.setAttribute("visibility", "visible");
    const values = panel.lines.map((line) => `${line.name} ${line.y[place] === null ? "undefined" : short(line.y[place])}`);
    reading.textContent = `${panel.x_label} ${short(grid[place])}: ${values.join(", ")}`;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * f.width;
    show(nearest(grid, x0 + ((at - f.left) / inner) * (x1 - x0)));
  });
  withArrows(svg, (step) => show(place + step));
  svg.addEventListener("focus", () => show(place));
}

/** Every case as a point, and quartiles as a box, per label. */
function drawDistribution(index) {
  const names = [...new Set(data.rows.map((row) => row.label))];
  const longest = Math.max(...names.map((name) => name.length)) + 14;
  const isCrowded = names.length * longest * 8 > FRAME.width;
  const bottom = isCrowded ? Math.min(200, 30 + 6 * longest) : FRAME.bottom;
  const f = { ...FRAME, bottom, height: FRAME.height - FRAME.bottom + bottom };
  const parent = document.getElementById("distribution");
  parent.replaceChildren();
  const metric = data.metrics[index];
  const figure = element("figure", {}, parent);
  const svg = element("svg:svg", { viewBox: `0 0 ${f.width} ${f.height}`, role: "img", tabindex: 0, "aria-label": `${metric.name} of every case` }, figure);
  const reading = element("div", { class: "reading", role: "status" }, figure);
  svg.style.maxWidth = "48rem";
  const all = data.rows.map((row) => row.values[index]).filter((value) => value !== null);
  if (!all.length) { reading.textContent = `${metric.name} is undefined in every case.`; return; }
  const y = frame(svg, all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b)), metric.name, f);
  const dots = [];
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
    const at = [centre, f.height - f.bottom + 18];
    const place = isCrowded ? { transform: `translate(${at}) rotate(-40)`, "text-anchor": "end" } : { x: at[0], y: at[1], "text-anchor": "middle" };
    element("svg:text", place, svg, missing ? `${name} (${missing} undefined)` : name);
    if (!sorted.length) return;
    const half = Math.min(40, width / 4);
    element("svg:rect", { x: centre - half, width: 2 * half, y: y(quantile(0.75)), height: Math.max(1, y(quantile(0.25)) - y(quantile(0.75))), fill: color, "fill-opacity": 0.2, stroke: color }, svg);
    element("svg:line", { x1: centre - half, x2: centre + half, y1: y(quantile(0.5)), y2: y(quantile(0.5)), stroke: color, "stroke-width": 3 }, svg);
    points.forEach((row, number) => {
      const shift = (((number * 0.618034) % 1) - 0.5) * 1.6 * half;
      const text = `${row.case}, ${name}: ${row.values[index].toFixed(metric.decimals)}`;
      const dot = element("svg:circle", { cx: centre + shift, cy: y(row.values[index]), r: 4, fill: color, class: "dot" }, svg);
      element("svg:title", {}, dot, text);
      dots.push({ dot, text, value: row.values[index], order });
    });
  });
  dots.sort((a, b) => a.order - b.order || a.value - b.value);
  let chosen = 0;
  const show = (place) => {
    dots[chosen].dot.setAttribute("r", 4);
    chosen = Math.min(dots.length - 1, Math.max(0, place));
    dots[chosen].dot.setAttribute("r", 7);
    reading.textContent = dots[chosen].text;
  };
  dots.forEach(({ dot }, place) => dot.addEventListener("pointerenter", () => show(place)));
  svg.addEventListener("focus", () => show(chosen));
  withArrows(svg, (step) => show(chosen + step));
}

/** Let the arrow keys, Page Up, Page Down, Home and End move by steps. */
function withArrows(item, move) {
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity };
  item.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    move(steps[event.key]);
  });
}

