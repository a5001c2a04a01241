// The page: files in, progress, and the result as table, pictures and file. `Computer`, which stands
// before this, computes: `segment(files, series)` begins, and `stop()` ends it for good. It tells of
// progress, of a choice of series, of the result or of what failed by calling what it was made with.

const TELL_EVERY = 0.1; // of the work, so that a screen reader is not kept busy

let computer = new Computer(hear), opened = [], began = 0, told = -1;

function hear(message) {
  if (message.type === "progress") showProgress(message);
  if (message.type === "failed") showProblem(message);
  if (message.type === "choose") askForSeries(message.choices);
  if (message.type === "done") showResult(message);
}

/** Begin anew, also where another scan is being worked on. */
function restart() {
  computer.stop();
  computer = new Computer(hear);
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
  computer.segment(files, series);
}

function stopped(words) {
  $("working").hidden = true;
  $("status").textContent = words;
}

/** `note` says more about a step, such as who else waits. */
function showProgress({ step, share, note = "" }) {
  const bar = $("progress");
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
  if (step !== "segmenting" || !share) began = performance.now();
  const left = step === "segmenting" && share > 0.02 ? ((performance.now() - began) / share) * (1 - share) : null;
  const words = left === null ? "" : `, about ${Math.max(1, Math.round(left / 1000))} s left`;
  $("left").textContent = share === null ? "" : `${Math.round(100 * share)} %${words}`;
  const tenth = `${step} ${note} ${share === null ? "" : Math.floor(share / TELL_EVERY)}`;
  if (tenth === told) return;
  told = tenth;
  $("status").textContent = share ? `${STEPS[step]}: ${Math.round(100 * share)} %${words}` : `${STEPS[step]}${note}…`;
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

function showResult(result) {
  const { labels, volumes } = result, { size, spacing } = result.geometry;
  const seconds = result.seconds < 10 ? result.seconds.toFixed(1) : Math.round(result.seconds);
  const sizes = [...size].reverse().join(" x "), mm = [...spacing].reverse().map((value) => Number(value.toPrecision(4))).join(" x ");
  $("summary").textContent = `${result.name}: ${sizes} voxels (x, y, z) of ${mm} mm, segmented in ${seconds} s.`;
  $("remarks").replaceChildren();
  for (const remark of result.remarks) made("p", $("remarks"), remark).className = "warning";
  showVolumes(result);
  if ($("save").href) URL.revokeObjectURL($("save").href);
  $("save").href = URL.createObjectURL(result.mask);
  $("save").download = `${stemOf(result.name)}_mask.nii.gz`;
  $("result").hidden = false;
  startViews(result);
  const found = volumes.map((ml, index) => `${labels[index][0]} ${ml.toFixed(2)} ml`).join(", ");
  stopped(found ? `Finished: ${found}.` : "Finished.");
  $("result-heading").focus();
  document.body.dataset.state = "done";
}

const stemOf = (name) => name.replace(/\.(nii\.gz|nii|nrrd|mha|dcm|zip)$/i, "").replace(/[^\p{L}\p{N}._-]+/gu, "_") || "scan";

function showVolumes({ labels, volumes, activation }) {
  $("volumes").replaceChildren();
  labels.forEach(([name, value], index) => {
    const row = made("tr", $("volumes")), head = made("th", row);
    head.scope = "row";
    made("i", head).style.background = `rgb(${colorAt(index).join(",")})`;
    head.append(name);
    made("td", row, String(value));
    made("td", row, `${volumes[index].toFixed(2)} ml`);
  });
  $("overlap").hidden = activation === "softmax";
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
$("theme").addEventListener("click", () => {
  const isDark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = isDark ? "light" : "dark";
});
Computer.ready.then(() => { document.body.dataset.state ??= "ready"; }, showProblem);
