// Slices of a scan across each axis of the patient, with the mask over them.

// Okabe and Ito, Color Universal Design (2008), as in all pictures of lunet.
const COLORS = [[230, 159, 0], [86, 180, 233], [0, 158, 115], [204, 121, 167], [213, 94, 0], [240, 228, 66], [0, 114, 178]];
const GOLDEN_TURN = 137.508; // degrees; hues of further labels never come close to each other soon
const SAMPLES = 200000;
const LARGEST_PICTURE = 460; // pixels along its longer side
const SIDES = [["R", "L", "A", "P"], ["R", "L", "S", "I"], ["A", "P", "S", "I"]]; // left, right, top, bottom

/** The colour of the label at a place in the list. */
function colorAt(index) {
  if (index < COLORS.length) return COLORS[index];
  const hue = (index * GOLDEN_TURN) % 360, light = index % 2 ? 0.7 : 0.5;
  const part = (offset) => {
    const place = (offset + hue / 30) % 12;
    return Math.round(255 * (light - Math.min(light, 1 - light) * 0.8 * Math.max(-1, Math.min(place - 3, 9 - place, 1))));
  };
  return [part(0), part(8), part(4)];
}

/** The intensities between which an image is shown: all but the darkest and brightest 0.5 %. */
function rangeOf(image) {
  const step = Math.max(1, Math.floor(image.length / SAMPLES)), found = [];
  for (let at = 0; at < image.length; at += step) found.push(image[at]);
  found.sort((one, other) => one - other);
  const low = found[Math.floor(found.length * 0.005)], high = found[Math.ceil(found.length * 0.995) - 1];
  return high > low ? [low, high] : [low, low + 1];
}

/** The axes down and to the right in a slice. */
const inSlice = (across) => [0, 1, 2].filter((axis) => axis !== across);

/** Row 0 is on top: the front of an axial slice, the head in the others. */
function drawSlice(canvas, scan, across, at, { range, opacity, colorOf }) {
  const { view, spacing, image, labelMap } = scan, [down, right] = inSlice(across);
  const rows = view.size[down], columns = view.size[right], pixels = new ImageData(columns, rows);
  const [low, high] = range, scale = 255 / (high - low), share = opacity / 100;
  for (let row = 0; row < rows; row++) {
    const line = across === 0 ? row : rows - 1 - row;
    let place = view.offset + at * view.strides[across] + line * view.strides[down];
    for (let column = 0; column < columns; column++, place += view.strides[right]) {
      const grey = (image[place] - low) * scale, value = labelMap[place], to = 4 * (row * columns + column);
      const color = value && share > 0 ? colorOf(value) : null;
      for (let part = 0; part < 3; part++) {
        const shown = Math.min(Math.max(grey, 0), 255);
        pixels.data[to + part] = color ? (1 - share) * shown + share * color[part] : shown;
      }
      pixels.data[to + 3] = 255;
    }
  }
  paint(canvas, pixels, columns * spacing[right], rows * spacing[down], across);
}

/** Draw pixels in their true proportions. */
function paint(canvas, pixels, widthMm, heightMm, across) {
  const scale = LARGEST_PICTURE / Math.max(widthMm, heightMm);
  const width = canvas.width = Math.max(24, Math.round(widthMm * scale));
  canvas.height = Math.max(24, Math.round(heightMm * scale));
  const small = document.createElement("canvas"), context = canvas.getContext("2d");
  [small.width, small.height] = [pixels.width, pixels.height];
  small.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  const places = [[4, canvas.height / 2 + 4], [width - 13, canvas.height / 2 + 4], [width / 2 - 4, 13], [width / 2 - 4, canvas.height - 4]];
  context.font = "13px system-ui, sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = "#000";
  context.fillStyle = "#fff";
  SIDES[across].forEach((side, order) => {
    context.strokeText(side, ...places[order]);
    context.fillText(side, ...places[order]);
  });
}
