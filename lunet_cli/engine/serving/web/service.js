// Who computes: the service that this page comes from. A worker reads what is shown.

const STEPS = {
  reading: "Reading the files", full: "Waiting for a place at the service", sending: "Sending the scan",
  waiting: "Waiting for its turn", segmenting: "Segmenting", fetching: "Fetching the mask",
};
const FIRST_PAUSE_MS = 50, LONGEST_PAUSE_MS = 1000;
const MOST_TRIES = 7; // of a question that is not answered, with pauses between them

const { models } = facts;
const pause = (tries) => new Promise((resolve) => setTimeout(resolve, Math.min(FIRST_PAUSE_MS * 2 ** tries, LONGEST_PAUSE_MS)));
const chosenIndex = () => ($("model") ? $("model").selectedIndex : 0);
// Of a page that was opened with a password in its address, browsers let no request go to a relative one.
const addressOf = (path) => location.origin + location.pathname.replace(/[^/]*$/, "") + path;
const silence = () => new Problem("the service does not answer", "Has it ended, or the network been cut? Open the scan again when it is back.");

/** An answer; what the service refuses becomes a problem in its own words. */
async function understood(answer) {
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  if (!told?.error) {
    throw new Problem(`the service answers with the status ${answer.status}`, "Is there something between it and this page, such as a proxy?");
  }
  const seconds = answer.headers.get("retry-after");
  throw new Problem(told.error, told.hint || (seconds ? `Try it again in ${seconds} s.` : ""));
}

/** What the service says, as `kind`: json or blob; it is asked again where nothing is heard. */
async function ask(path, kind, signal) {
  for (let tries = 1; ; tries++) {
    try {
      return await (await understood(await fetch(addressOf(path), { signal })))[kind]();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      if (tries === MOST_TRIES) throw silence();
      await pause(tries);
    }
  }
}

/** One scan after the other, each as a job of the service. */
class Computer {
  static ready = Promise.resolve();

  constructor(onMessage) {
    this.tell = (message) => { if (!this.ending.signal.aborted) onMessage(message); };
    this.ending = new AbortController();
    this.job = null;
    this.worker = new Worker(scriptOf([$("worker-source").textContent]));
    this.worker.onerror = (event) => this.tell({ type: "failed", message: event.message, hint: "" });
  }

  async segment(files, series) {
    try {
      await this.work(files, series, models[chosenIndex()]);
    } catch (error) {
      const isUnderstood = error instanceof Problem;
      this.tell({ type: "failed", message: error.message, hint: error.hint ?? "Please report it.", isUnderstood });
    } finally {
      this.forget();
    }
  }

  async work(files, series, model) {
    const found = await this.inWorker({ type: "look", files, series, model });
    if (found === null) return;
    requireSmall(found.files);
    await this.havePlace();
    const answer = await understood(await this.send(found.files, model));
    this.job = (await answer.json()).job;
    if (this.ending.signal.aborted) return;
    const result = await this.over();
    this.progress("fetching");
    const mask = await ask(`jobs/${this.job}/mask`, "blob", this.ending.signal);
    const shown = await this.shown(found, mask, model);
    const volumes = model.labels.map(([name]) => result.volumes_ml[name]);
    this.tell({
      type: "done", name: found.name, ...shown, mask, volumes, labels: model.labels, activation: model.activation,
      seconds: result.seconds, remarks: [...result.remarks, ...shown.remarks],
    });
  }

  /** Wait while the queue is full: what is refused while it is sent may break off without a word. */
  async havePlace() {
    for (let tries = 0; ; tries++) {
      // Where it is not ready, its status is an error, and the answer the same.
      const answer = await fetch(addressOf("health"), { signal: this.ending.signal }).catch(() => { throw silence(); });
      const { status, queue_length: waiting } = await answer.json().catch(() => ({}));
      if (status === "ending") throw new Problem("the service is ending", "Open the scan again when it is back.");
      if (!(waiting >= facts.maxQueue)) return;
      this.progress("full", null, `: ${waiting} scan${waiting === 1 ? " is" : "s are"} there, as many as it takes`);
      await pause(tries);
    }
  }

  /** Send files as a job; only this kind of request tells how much of it is sent. */
  send(files, model) {
    const form = new FormData(), request = new XMLHttpRequest();
    for (const file of files) form.append("scan", file);
    this.progress("sending", 0);
    return new Promise((resolve, reject) => {
      request.open("POST", addressOf(`predict?${new URLSearchParams({ model: model.name, format: "nii.gz", wait: "false" })}`));
      request.upload.onprogress = ({ loaded, total }) => this.progress("sending", loaded / total);
      request.onload = () => {
        const headers = { "retry-after": request.getResponseHeader("retry-after") ?? "" };
        resolve(new Response(request.responseText, { status: request.status, headers }));
      };
      request.onerror = () => reject(new Problem("the scan could not be sent", "Does the service still run, and are the files still there? Open them again."));
      request.onabort = () => reject(new Problem("stopped"));
      this.ending.signal.addEventListener("abort", () => request.abort());
      request.send(form);
    });
  }

  /** What came of the job, once it is over. */
  async over() {
    for (let tries = 0; ; tries++) {
      const status = await ask(`jobs/${this.job}`, "json", this.ending.signal);
      if (status.state === "done") return status;
      if (status.error) throw new Problem(status.error, status.hint);
      if (status.state === "waiting") this.progress("waiting", null, inQueue(status.position));
      else this.progress("segmenting", status.progress);
      await pause(tries);
    }
  }

  /** A mask, and the image under it if that lies on the same grid. */
  async shown(found, mask, model) {
    const { geometry, labelMap, problem } = await this.inWorker({ type: "readMask", file: mask, model });
    if (problem) throw new Problem(problem.message, problem.hint);
    if (found.image && sameGrid(found.geometry, geometry)) return { geometry, labelMap, image: found.image, remarks: [] };
    const why = found.problem ? found.problem.message : "it is read here on another grid";
    const remark = `The scan cannot be shown here, and its mask stands alone (${why}).`;
    return { geometry, labelMap, image: new Uint8Array(labelMap.length), remarks: [remark] };
  }

  inWorker(question) {
    return new Promise((resolve) => {
      this.worker.onmessage = ({ data }) => (data.type === "answer" ? resolve(data.answer) : this.tell(data));
      this.worker.postMessage(question);
    });
  }

  progress(step, share = null, note = "") {
    this.tell({ type: "progress", step, share, note });
  }

  /** Let the service remove the job; also when the page is left. */
  forget() {
    if (this.job) fetch(addressOf(`jobs/${this.job}`), { method: "DELETE", keepalive: true }).catch(() => {});
    this.job = null;
  }

  stop() {
    this.ending.abort();
    this.forget();
    this.worker.terminate();
  }
}

function inQueue(position) {
  if (!position) return "";
  return `: ${position} scan${position === 1 ? " is" : "s are"} before this one`;
}

/** What is larger than the service takes is not sent at all. */
function requireSmall(files) {
  const bytes = files.reduce((sum, { size }) => sum + size, 0), inMib = (count) => Math.round(count / 2 ** 20).toLocaleString("en");
  if (bytes <= facts.maxBytes) return;
  throw new Problem(`the scan: has ${inMib(bytes)} MiB, more than the ${inMib(facts.maxBytes)} MiB that the service takes`, "Compress or crop it, or ask who runs the service.");
}

/** Say what belongs to the chosen network. */
function showModel() {
  for (const element of document.querySelectorAll("[data-model]")) element.hidden = Number(element.dataset.model) !== chosenIndex();
}

$("model")?.addEventListener("change", showModel);
showModel();
addEventListener("pagehide", () => {
  if (!$("working").hidden) $("stop").click();
});
