const PANELS = ["image", "reference", "prediction", "error"];
const PANEL = { width: 270, gap: 6, title: 18 };
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
  const colors = { image: [], reference: labelColors, prediction: labelColors, error: data.errors };
  const canvas = article.querySelector("canvas"), context = canvas.getContext("2d");
  const [slice, opacity, axis] = ["slice", "opacity", "axis"].map((name) => article.querySelector(`.${name}`));
  const isSolid = () => Number(axis.value) === SOLID;
  const scene = setUpScene(item, image, reference, prediction);
  let tilt = 20;

  function draw() {
    const height = isSolid() ? PANEL.width : sliceHeight(item, Number(axis.value));
    const perRow = article.clientWidth < 640 ? 2 : PANELS.length;
    canvas.width = perRow * (PANEL.width + PANEL.gap) - PANEL.gap;
    canvas.height = (PANELS.length / perRow) * (height + PANEL.title);
    context.imageSmoothingEnabled = false;
    context.font = "13px system-ui, sans-serif";
    context.fillStyle = "#fff";
    PANELS.forEach((name, order) => {
      const left = (order % perRow) * (PANEL.width + PANEL.gap);
      const top = Math.floor(order / perRow) * (height + PANEL.title) + PANEL.title;
      context.fillText(name, left + 2, top - 5);
      if (isSolid()) context.putImageData(scene(name, Number(slice.value), tilt, values, colors[name]), left, top);
      else drawSlice(name, left, top, height);
    });
    slice.nextElementSibling.textContent = isSolid() ? `${slice.value}°` : item.first[axis.value] + slice.value * item.step;
    opacity.nextElementSibling.textContent = `${opacity.value} %`;
  }

  function drawSlice(name, left, top, height) {
    const { rows, columns, voxel } = sliceOf(item, Number(axis.value), Number(slice.value));
    const share = Number(opacity.value) / 100, mix = name === "error" && share > 0 ? Math.max(share, 0.8) : share;
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
    context.drawImage(small, left, top, PANEL.width, height);
    if (share > 0 && (name === "reference" || name === "prediction")) {
      const value = (row, column) => values[name](voxel(row, column));
      outline(context, rows, columns, left, top, PANEL.width / columns, height / rows, value, colors[name]);
    }
  }

  function turn() {
    [slice.min, slice.max, slice.step] = isSolid() ? [-180, 180, 5] : [0, item.shape[Number(axis.value)] - 1, 1];
    slice.value = isSolid() ? 30 : item.best[Number(axis.value)];
    slice.previousSibling.textContent = isSolid() ? "turn " : "slice ";
    opacity.disabled = isSolid();
    canvas.classList.toggle("solid", isSolid());
    draw();
  }

  canvas.addEventListener("pointermove", (event) => {
    if (!isSolid() || !(event.buttons & 1)) return;
    slice.value = ((Number(slice.value) + event.movementX + 540) % 360) - 180;
    tilt = Math.min(90, Math.max(-90, tilt + event.movementY / 2));
    draw();
  });
  canvas.addEventListener("pointerdown", (event) => { if (isSolid()) canvas.setPointerCapture(event.pointerId); });
  for (const control of [slice, opacity]) control.addEventListener("input", draw);
  axis.addEventListener("change", turn);
  addEventListener("resize", draw);
  turn();
}

/** The colour of a label, of those that are told apart; null for 0. */
const colorOf = (colors, label) => (label ? colors[Math.min(label, colors.length) - 1] ?? null : null);

/** Height of a panel with slices across an axis, in their true proportions. */
function sliceHeight(item, across) {
  const [down, right] = [0, 1, 2].filter((other) => other !== across);
  return Math.round((PANEL.width * item.shape[down] * item.spacing_mm[down]) / (item.shape[right] * item.spacing_mm[right]));
}

/** Where the pixels of a slice lie in the arrays; row 0 is on top: the front of an axial slice, the head in the others. */
function sliceOf(item, across, at) {
  const strides = [item.shape[1] * item.shape[2], item.shape[2], 1];
  const [down, right] = [0, 1, 2].filter((other) => other !== across);
  const [rows, columns] = [item.shape[down], item.shape[right]];
  const voxel = (row, column) => at * strides[across] + (across === 0 ? row : rows - 1 - row) * strides[down] + column * strides[right];
  return { rows, columns, voxel };
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
