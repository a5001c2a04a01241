// A scan with its mask: three slices, surfaces, and the sliders that move them.

let scan = null;

const canvases = [0, 1, 2].map((across) => document.querySelector(`canvas[data-across="${across}"]`));
const sliders = [0, 1, 2].map((across) => document.querySelector(`input[data-across="${across}"]`));

/** The colour of a label by its value. */
const colorOf = (value) => colorAt(scan.indexOfValue.get(value));

/**
 * Show a mask over its scan, in the middle of what was found. `labels` are pairs of name and value.
 */
function startViews({ geometry, image, labelMap, labels }) {
  const placement = place(geometry, "LPS", null), indexOfValue = new Map(labels.map(([, value], index) => [value, index]));
  scan = { image, labelMap, labels, indexOfValue, view: turnedView(placement), spacing: placement.orientedSpacing, range: rangeOf(image) };
  const box = boxOf(scan.labelMap, scan.view);
  scan.surface = surfaceOf(scan.labelMap, scan.view, scan.spacing);
  sliders.forEach((slider, across) => {
    const last = scan.view.size[across] - 1, middle = box ? (box[0][across] + box[1][across]) / 2 : last / 2;
    slider.max = last;
    slider.value = Math.round(middle);
  });
  drawAll();
}

function drawAll() {
  if (!scan) return;
  sliders.forEach((_, across) => draw(across));
  drawSurfaces();
}

function draw(across) {
  const at = Number(sliders[across].value), [low, high] = scan.range, share = (id) => Number($(id).value) / 100;
  const bottom = low + share("darkest") * (high - low), top = Math.max(low + share("brightest") * (high - low), bottom + 1e-6 * (high - low));
  drawSlice(canvases[across], scan, across, at, { range: [bottom, top], opacity: Number($("opacity").value), colorOf });
  sliders[across].nextElementSibling.textContent = `${at + 1} of ${scan.view.size[across]}`;
  const name = canvases[across].previousElementSibling.textContent, here = labelsIn(across, at).join(", ") || "no label";
  canvases[across].setAttribute("aria-label", `${name} slice ${at + 1} of ${scan.view.size[across]}: ${here}`);
  for (const id of ["opacity", "darkest", "brightest"]) $(id).nextElementSibling.textContent = `${$(id).value} %`;
}

/** Names of the labels in a slice. */
function labelsIn(across, at) {
  const [down, right] = inSlice(across), { view, labelMap } = scan, found = new Set();
  for (let row = 0; row < view.size[down]; row++) {
    let place = view.offset + at * view.strides[across] + row * view.strides[down];
    for (let column = 0; column < view.size[right]; column++, place += view.strides[right]) {
      if (labelMap[place]) found.add(labelMap[place]);
    }
  }
  return scan.labels.filter(([, value]) => found.has(value)).map(([name]) => name);
}

function drawSurfaces() {
  const canvas = $("solid"), turn = Number($("turn").value), tilt = Number($("tilt").value);
  [canvas.width, canvas.height] = [SOLID_EDGE, SOLID_EDGE];
  drawSolid(canvas.getContext("2d"), scan.surface, turn, tilt, colorOf);
  canvas.setAttribute("aria-label", scan.surface ? `surfaces of the labels, turned by ${turn}° and tilted by ${tilt}°` : "no label was found");
  for (const id of ["turn", "tilt"]) $(id).nextElementSibling.textContent = `${$(id).value}°`;
}

/** Move the two other planes to where a slice was clicked. */
function moveOthers(across, event) {
  const canvas = canvases[across], [down, right] = inSlice(across), frame = canvas.getBoundingClientRect();
  const share = { [right]: (event.clientX - frame.left) / frame.width, [down]: (event.clientY - frame.top) / frame.height };
  if (across !== 0) share[down] = 1 - share[down];
  for (const axis of [down, right]) {
    sliders[axis].value = Math.min(Math.floor(share[axis] * scan.view.size[axis]), scan.view.size[axis] - 1);
    draw(axis);
  }
}

canvases.forEach((canvas, across) => {
  canvas.addEventListener("click", (event) => moveOthers(across, event));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    sliders[across].value = Number(sliders[across].value) + Math.sign(event.deltaY);
    draw(across);
  }, { passive: false });
  sliders[across].addEventListener("input", () => draw(across));
});
for (const id of ["opacity", "darkest", "brightest"]) $(id).addEventListener("input", drawAll);
for (const id of ["turn", "tilt"]) $(id).addEventListener("input", drawSurfaces);
$("solid").addEventListener("pointerdown", (event) => $("solid").setPointerCapture(event.pointerId));
$("solid").addEventListener("pointermove", (event) => {
  if (!(event.buttons & 1) || !scan) return;
  $("turn").value = ((Number($("turn").value) + event.movementX / 2 + 540) % 360) - 180;
  $("tilt").value = Number($("tilt").value) + event.movementY / 2;
  drawSurfaces();
});
addEventListener("resize", drawAll);
