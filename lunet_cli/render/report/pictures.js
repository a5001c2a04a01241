const PANELS = ["image", "reference", "prediction", "error"];
const PANEL = { width: 270, tallest: 480, gap: 6, title: 18 };
const SOLID = 3; // the "axis" of the view in three dimensions

/** The bytes of an array in the page. */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function setUpCase(article) {
  const item = data.cases[Number(article.dataset.index)];
  const [image, reference, prediction] = await Promise.all([item.image, item.reference, item.prediction].map(unpack));
  const labelColors = data.labels.map((label) => label.color);
  // What each panel shows of a voxel, and in which colours; 0 is the image.
  const values = {
    image: () => 0,
    reference: (v) => reference[v],
    prediction: (v) => prediction[v],
    error: (v) => (reference[v] === prediction[v] ? 0 : prediction[v] === 0 ? 1 : reference[v] === 0 ? 2 : 3),
  };
  const colors = { image: [], reference: labelColors, prediction: labelColors, error: data.errors.map((error) => error.color) };
  const canvas = article.querySelector("canvas"), context = canvas.getContext("2d");
  const [slice, opacity, axis] = ["slice", "opacity", "axis"].map((name) => article.querySelector(`.${name}`));
  const scene = setUpScene(item, image, reference, prediction);
  const state = { slices: [...item.best], opacity: data.opacity, turn: 30, tilt: 20 };
  const across = () => Number(axis.value), isSolid = () => across() === SOLID;

  function draw() {
    const perRow = article.clientWidth < 640 ? 2 : PANELS.length;
    const [width, height] = isSolid() ? [PANEL.width, PANEL.width] : sliceSize(item, across());
    canvas.width = perRow * (width + PANEL.gap) - PANEL.gap;
    canvas.height = (PANELS.length / perRow) * (height + PANEL.title);
    context.fillRect(0, 0, canvas.width, canvas.height); // in black, also on paper
    context.imageSmoothingEnabled = false;
    context.font = "13px system-ui, sans-serif";
    context.fillStyle = "#fff";
    PANELS.forEach((name, order) => {
      const left = (order % perRow) * (width + PANEL.gap);
      const top = Math.floor(order / perRow) * (height + PANEL.title) + PANEL.title;
      context.fillText(order ? name : `${name}, ${position()}`, left + 2, top - 5, width);
      if (isSolid()) context.putImageData(scene(name, state.turn, state.tilt, values, colors[name]), left, top);
      else drawSlice(name, left, top, width, height);
      if (!isSolid() && order === 0) letters(context, item.sides[across()] ?? [], left, top, width, height);
    });
    showState();
  }

  /** Which slice is shown, as it is counted in the whole volume. */
  function position() {
    if (isSolid()) return `turned by ${Math.round(state.turn)}°`;
    return `${axis.selectedOptions[0].textContent} ${item.first[across()] + state.slices[across()] * item.steps[across()]}`;
  }

  function drawSlice(name, left, top, width, height) {
    const { rows, columns, voxel } = sliceOf(item, across(), state.slices[across()]);
    const share = state.opacity / 100, mix = name === "error" && share > 0 ? Math.max(share, 0.8) : share;
    const pixels = new ImageData(columns, rows);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const v = voxel(row, column), to = 4 * (row * columns + column), grey = image[v];
        const color = colorOf(colors[name], values[name](v));
        for (let part = 0; part < 3; part++) pixels.data[to + part] = color ? Math.round((1 - mix) * grey + mix * color[part]) : grey;
        pixels.data[to + 3] = 255;
      }
    }
    const small = element("canvas", { width: columns, height: rows });
    small.getContext("2d").putImageData(pixels, 0, 0);
    context.drawImage(small, left, top, width, height);
    if (share > 0 && (name === "reference" || name === "prediction")) {
      const value = (row, column) => values[name](voxel(row, column));
      outline(context, rows, columns, left, top, width / columns, height / rows, value, colors[name]);
    }
    if (share > 0 && name === "error") {
      const inside = (row, column) => Number(reference[voxel(row, column)] > 0);
      outline(context, rows, columns, left, top, width / columns, height / rows, inside, [data.reference_color]);
    }
  }

  /** The sliders choose slice and opacity, or turn and tilt. */
  function showState() {
    const shown = isSolid() ? [state.turn, state.tilt] : [state.slices[across()], state.opacity];
    [slice.value, opacity.value] = shown.map(Math.round);
    const number = (place) => item.first[across()] + place * item.steps[across()];
    const words = isSolid() ? [`${slice.value}°`, `${opacity.value}°`]
      : [`${number(shown[0])} (${number(0)} to ${number(item.shape[across()] - 1)})`, `${opacity.value} %`];
    [slice, opacity].forEach((control, order) => { control.nextElementSibling.textContent = words[order]; });
  }

  function turn() {
    const bounds = isSolid() ? [[-180, 180, 1], [-90, 90, 1]] : [[0, item.shape[across()] - 1, 1], [0, 100, 5]];
    const names = isSolid() ? ["turn ", "tilt "] : ["slice ", "opacity "];
    [slice, opacity].forEach((control, order) => {
      [control.min, control.max, control.step] = bounds[order];
      control.previousSibling.textContent = names[order];
    });
    canvas.classList.toggle("solid", isSolid());
    draw();
  }

  slice.addEventListener("input", () => {
    if (isSolid()) state.turn = Number(slice.value);
    else state.slices[across()] = Number(slice.value);
    draw();
  });
  opacity.addEventListener("input", () => {
    state[isSolid() ? "tilt" : "opacity"] = Number(opacity.value);
    draw();
  });
  canvas.addEventListener("pointerdown", (event) => { if (isSolid()) canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!isSolid() || !(event.buttons & 1)) return;
    state.turn = ((state.turn + event.movementX / 2 + 540) % 360) - 180;
    state.tilt = Math.min(90, Math.max(-90, state.tilt + event.movementY / 2));
    draw();
  });
  axis.addEventListener("change", turn);
  addEventListener("resize", draw);
  turn();
}

/** The colour of a label, of those that are told apart; null for 0. */
const colorOf = (colors, label) => (label ? colors[Math.min(label, colors.length) - 1] ?? null : null);

/** Width and height of a panel with slices across an axis, in their true proportions. */
function sliceSize(item, across) {
  const [down, right] = [0, 1, 2].filter((other) => other !== across);
  const ratio = (item.shape[down] * item.spacing_mm[down]) / (item.shape[right] * item.spacing_mm[right]);
  const width = Math.max(60, Math.min(PANEL.width, Math.round(PANEL.tallest / ratio)));
  return [width, Math.round(width * ratio)];
}

/** Where the pixels of a slice lie in the arrays; row 0 is on top: the front of an axial slice, the head in the others. */
function sliceOf(item, across, at) {
  const strides = [item.shape[1] * item.shape[2], item.shape[2], 1];
  const [down, right] = [0, 1, 2].filter((other) => other !== across);
  const [rows, columns] = [item.shape[down], item.shape[right]];
  const voxel = (row, column) => at * strides[across] + (across === 0 ? row : rows - 1 - row) * strides[down] + column * strides[right];
  return { rows, columns, voxel };
}

/** The patient's sides at the left, right, top and bottom of a picture. */
function letters(context, sides, left, top, width, height) {
  const places = [[left + 4, top + height / 2 + 4], [left + width - 13, top + height / 2 + 4], [left + width / 2 - 4, top + 13], [left + width / 2 - 4, top + height - 4]];
  context.lineWidth = 3;
  context.strokeStyle = "#000";
  sides.forEach((side, order) => {
    context.strokeText(side, ...places[order]);
    context.fillText(side, ...places[order]);
  });
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
      context.strokeStyle = rgb(colorOf(colors, here));
      context.beginPath();
      if (differs(row - 1, column)) { context.moveTo(x, y); context.lineTo(x + dx, y); }
      if (differs(row + 1, column)) { context.moveTo(x, y + dy); context.lineTo(x + dx, y + dy); }
      if (differs(row, column - 1)) { context.moveTo(x, y); context.lineTo(x, y + dy); }
      if (differs(row, column + 1)) { context.moveTo(x + dx, y); context.lineTo(x + dx, y + dy); }
      context.stroke();
    }
  }
}
