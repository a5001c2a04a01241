// The page: files in, progress, and the result as table, pictures and file. Workers compute.

const facts = JSON.parse(document.getElementById("facts").textContent);
const $ = (id) => document.getElementById(id);
const STEPS = { reading: "Reading the files", preparing: "Preparing the image", segmenting: "Segmenting", packing: "Packing the mask" };
const TELL_EVERY = 0.1; // of the work, so that a screen reader is not kept busy
const MOST_ENGINES = 4; // each has a network and its activations in memory

/** The bytes of something that is packed into the page. */
async function unpacked(id) {
  const letters = atob($(id).textContent), bytes = new Uint8Array(letters.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = letters.charCodeAt(index);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

const scriptOf = (parts) => URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));

/** The worker that segments and those that compute for it. */
class Team {
  static parts = Promise.all(["runtime", "binary", "network"].map(unpacked));

  constructor(onMessage) {
    this.worker = new Worker(scriptOf([$("worker-source").textContent]));
    this.worker.onmessage = ({ data }) => onMessage(data);
    this.worker.onerror = (event) => onMessage({ type: "failed", message: event.message, hint: "" });
    this.engines = [];
    this.ready = this.hire(onMessage);
  }

  async hire(onMessage) {
    const [runtime, binary, network] = await Team.parts, ports = [];
    const count = Math.max(1, Math.min(navigator.hardwareConcurrency || 1, MOST_ENGINES));
    const source = scriptOf([runtime, "\n", $("engine-source").textContent]);
    for (let index = 0; index < count; index++) {
      const engine = new Worker(source), { port1, port2 } = new MessageChannel();
      engine.onmessage = ({ data }) => { if (data.error) onMessage({ type: "failed", message: data.error, hint: "" }); };
      engine.postMessage({ port: port1, binary, network }, [port1]);
      ports.push(port2);
      this.engines.push(engine);
    }
    this.worker.postMessage({ type: "start", facts, ports }, ports);
  }

  async segment(files, series) {
    await this.ready;
    this.worker.postMessage({ type: "segment", files, series });
  }

  stop() {
    [this.worker, ...this.engines].forEach((worker) => worker.terminate());
  }
}

let team = new Team(hear), opened = [], began = 0, told = -1, scan = null;

function hear(message) {
  if (message.type === "progress") showProgress(message);
  if (message.type === "failed") showProblem(message);
  if (message.type === "choose") askForSeries(message.choices);
  if (message.type === "done") showResult(message);
}

/** Begin anew, also where another scan is being worked on. */
function restart() {
  team.stop();
  team = new Team(hear);
}

function segment(files, series = null) {
  if (!files.length) return;
  if (!$("working").hidden) restart();
  opened = files;
  told = -1;
  for (const id of ["problem", "result", "series"]) $(id).hidden = true;
  $("working").hidden = false;
  scan = null;
  document.body.dataset.state = "working";
  showProgress({ step: "reading", share: null });
  team.segment(files, series);
}

function stopped(words) {
  $("working").hidden = true;
  $("status").textContent = words;
}

function showProgress({ step, share }) {
  const bar = $("progress");
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
  if (step !== "segmenting" || !share) began = performance.now();
  const left = step === "segmenting" && share > 0.02 ? ((performance.now() - began) / share) * (1 - share) : null;
  const words = left === null ? "" : `, about ${Math.max(1, Math.round(left / 1000))} s left`;
  $("left").textContent = share === null ? "" : `${Math.round(100 * share)} %${words}`;
  const tenth = `${step} ${share === null ? "" : Math.floor(share / TELL_EVERY)}`;
  if (tenth === told) return;
  told = tenth;
  $("status").textContent = share ? `${STEPS[step]}: ${Math.round(100 * share)} %${words}` : `${STEPS[step]}…`;
}

function showProblem({ message, hint, isUnderstood = false }) {
  stopped("");
  if (!isUnderstood) restart(); // the workers may be in any state
  $("problem").textContent = hint ? `${message}. ${hint}` : message;
  $("problem").hidden = false;
  document.body.dataset.state = "failed";
}

function askForSeries(choices) {
  stopped("The folder holds several series.");
  $("series-choice").replaceChildren(...choices.map(({ uid, words }) => new Option(words, uid)));
  $("series").hidden = false;
  $("series-choice").focus();
  document.body.dataset.state = "asking";
}

function made(name, parent, text = "") {
  const element = document.createElement(name);
  element.textContent = text;
  parent.append(element);
  return element;
}

const indexOfValue = new Map(facts.labels.map(([, value], index) => [value, index]));
const colorOf = (value) => colorAt(indexOfValue.get(value));

function showResult(result) {
  const placement = place(result.geometry, "LPS", null);
  scan = { ...result, view: turnedView(placement), spacing: placement.orientedSpacing, range: rangeOf(result.image), surface: undefined };
  const { size, spacing } = result.geometry, seconds = result.seconds < 10 ? result.seconds.toFixed(1) : Math.round(result.seconds);
  const sizes = [...size].reverse().join(" x "), mm = [...spacing].reverse().map((value) => Number(value.toPrecision(4))).join(" x ");
  $("summary").textContent = `${result.name}: ${sizes} voxels (x, y, z) of ${mm} mm, segmented in ${seconds} s.`;
  $("remarks").replaceChildren();
  for (const remark of result.remarks) made("p", $("remarks"), remark).className = "warning";
  showVolumes(result.volumes);
  if ($("save").href) URL.revokeObjectURL($("save").href);
  $("save").href = URL.createObjectURL(result.mask);
  $("save").download = `${stemOf(result.name)}_mask.nii.gz`;
  $("result").hidden = false;
  startViews();
  const [first] = facts.labels;
  const found = result.volumes.map((ml, index) => `${facts.labels[index][0]} ${ml.toFixed(2)} ml`).join(", ");
  stopped(first ? `Finished: ${found}.` : "Finished.");
  $("result-heading").focus();
  document.body.dataset.state = "done";
}

const stemOf = (name) => name.replace(/\.(nii\.gz|nii|nrrd|dcm)$/i, "").replace(/[^\p{L}\p{N}._-]+/gu, "_") || "scan";

function showVolumes(volumes) {
  $("volumes").replaceChildren();
  facts.labels.forEach(([name, value], index) => {
    const row = made("tr", $("volumes")), head = made("th", row);
    head.scope = "row";
    made("i", head).style.background = `rgb(${colorAt(index).join(",")})`;
    head.append(name);
    made("td", row, String(value));
    made("td", row, `${volumes[index].toFixed(2)} ml`);
  });
  $("overlap").hidden = facts.activation === "softmax";
}

const canvases = [0, 1, 2].map((across) => document.querySelector(`canvas[data-across="${across}"]`));
const sliders = [0, 1, 2].map((across) => document.querySelector(`input[data-across="${across}"]`));

/** Begin in the middle of what was found. */
function startViews() {
  const box = boxOf(scan.labelMap, scan.view), surface = surfaceOf(scan.labelMap, scan.view, scan.spacing);
  scan.surface = surface;
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
  return facts.labels.filter(([, value]) => found.has(value)).map(([name]) => name);
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

/** All files of what was dropped, also those in folders. */
async function droppedFiles(transfer) {
  // All of it at once: what was dropped is gone after the first wait.
  const dropped = [...transfer.items].filter(({ kind }) => kind === "file").map((item) => {
    const entry = item.webkitGetAsEntry?.();
    // Chromium gives a page from disk no file of an entry, but the file of an item.
    return entry?.isDirectory ? filesBelow(item.getAsFileSystemHandle?.(), entry) : [item.getAsFile()];
  });
  return (await Promise.all(dropped)).flat();
}

/** Files in a folder and those below it, by its handle, or where there are none, by its entry. */
async function filesBelow(promised, entry) {
  const handle = await promised;
  if (handle) return filesOfHandle(handle);
  const found = [], waiting = [entry];
  while (waiting.length) {
    const next = waiting.shift();
    if (next.isFile) found.push(await new Promise((resolve, reject) => next.file(resolve, reject)));
    else waiting.push(...(await entriesOf(next.createReader())));
  }
  return found;
}

async function filesOfHandle(handle) {
  if (handle.kind === "file") return [await handle.getFile()];
  const found = [];
  for await (const inside of handle.values()) found.push(...(await filesOfHandle(inside)));
  return found;
}

async function entriesOf(reader) {
  const found = [];
  for (;;) {
    // It gives a hundred at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    found.push(...some);
  }
}

const zone = $("open");
addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
addEventListener("dragleave", () => zone.classList.remove("over"));
addEventListener("drop", async (event) => {
  event.preventDefault();
  zone.classList.remove("over");
  try {
    segment(await droppedFiles(event.dataTransfer));
  } catch (error) {
    const message = `this browser does not let the page read what was dropped (${error.message})`;
    showProblem({ message, hint: "Open it by one of the buttons.", isUnderstood: true });
  }
});
for (const [button, input] of [["choose-files", "files"], ["choose-folder", "folder"]]) {
  $(button).addEventListener("click", () => $(input).click());
  $(input).addEventListener("change", () => {
    segment([...$(input).files]);
    $(input).value = ""; // so that the same file can be opened again
  });
}
$("series").addEventListener("submit", (event) => {
  event.preventDefault();
  segment(opened, $("series-choice").value);
});
$("stop").addEventListener("click", () => {
  restart();
  stopped("Stopped.");
  document.body.dataset.state = "stopped";
  $("choose-files").focus();
});
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
$("theme").addEventListener("click", () => {
  const isDark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = isDark ? "light" : "dark";
});
$("licences").addEventListener("toggle", async () => {
  if (!$("notices").textContent) $("notices").textContent = new TextDecoder().decode(await unpacked("packed-notices"));
}, { once: true });
addEventListener("resize", drawAll);
Team.parts.then(() => { document.body.dataset.state ??= "ready"; }, () => {
  showProblem({ message: "this browser is too old for this page (it lacks DecompressionStream)", hint: "Update it." });
});
