// Who computes: workers inside of this page, with the network that it holds.

const STEPS = { reading: "Reading the files", preparing: "Preparing the image", segmenting: "Segmenting", packing: "Packing the mask" };
const MOST_ENGINES = 4; // each has a network and its activations in memory

/** The bytes of something that is packed into the page. */
async function unpacked(id) {
  const letters = atob($(id).textContent), bytes = new Uint8Array(letters.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = letters.charCodeAt(index);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** The worker that segments and those that compute for it. */
class Computer {
  static parts = Promise.all(["runtime", "binary", "network"].map(unpacked));

  /** What a page needs before it can take a scan. */
  static ready = Computer.parts.catch(() => {
    throw new Problem("this browser is too old for this page (it lacks DecompressionStream)", "Update it.");
  });

  constructor(onMessage) {
    this.worker = new Worker(scriptOf([$("worker-source").textContent]));
    this.worker.onmessage = ({ data }) => onMessage(data.type === "done" ? { ...data, labels: facts.labels, activation: facts.activation } : data);
    this.worker.onerror = (event) => onMessage({ type: "failed", message: event.message, hint: "" });
    this.engines = [];
    this.ready = this.hire(onMessage);
  }

  async hire(onMessage) {
    const [runtime, binary, network] = await Computer.parts, ports = [];
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

$("licences").addEventListener("toggle", async () => {
  if (!$("notices").textContent) $("notices").textContent = new TextDecoder().decode(await unpacked("packed-notices"));
}, { once: true });
