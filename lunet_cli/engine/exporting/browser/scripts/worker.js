// In a worker: one scan from files to its label map. Other workers compute windows.

const LARGEST_BYTES = 3.5 * 2 ** 30; // a browser tab has some 4 GB
const LARGEST_SHARED_WINDOW = 112 ** 3; // activations of larger ones take a gigabyte each
const SLOWEST_REPORT_MS = 100;

const engines = [];

self.onmessage = async ({ data }) => {
  try {
    if (data.type === "start") start(data);
    if (data.type === "segment") await segment(data);
  } catch (error) {
    self.postMessage({ type: "failed", ...inPlainWords(error) });
  }
};

function start(data) {
  facts = data.facts;
  for (const port of data.ports) engines.push(new Engine(port));
}

/** A worker that computes windows, one at a time. */
class Engine {
  constructor(port) {
    this.port = port;
  }

  run(input, window) {
    return new Promise((resolve, reject) => {
      this.port.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data.logits));
      this.port.postMessage({ input, shape: [1, facts.inChannels, ...window] }, [input.buffer]);
    });
  }
}

async function segment({ files, series }) {
  const began = performance.now();
  const scans = await readScans(files, series);
  if (scans === null) return; // the page asks which series
  const { geometry } = scans[0], channels = scans.flatMap((scan) => scan.channels);
  requireChannels(scans, channels.length);
  const { orientation, spacing_mm: spacing, normalization } = facts.preprocessing;
  const placement = place(geometry, orientation, spacing);
  const window = windowOf(placement.grid.size, facts.window);
  requireMemory(placement, window, channels);
  tell("preparing");
  const inputs = channels.map((values) => networkChannel(scans[0].name, values, placement, normalization));
  const segmentation = new Segmentation(placement, facts.labels, facts.activation);
  await computeWindows(inputs, placement.grid.size, window, segmentation);
  tell("packing");
  const packed = await packedMask(segmentation.labelMap, geometry);
  const seconds = (performance.now() - began) / 1000;
  self.postMessage({
    type: "done", name: scans[0].name, geometry, image: channels[0], labelMap: segmentation.labelMap,
    volumes: segmentation.volumesMl(), mask: packed, seconds, remarks: scans.flatMap((scan) => scan.remarks),
  }, [channels[0].buffer, segmentation.labelMap.buffer]);
}

/** Send windows to all engines, and put their answers together in the order of the windows. */
async function computeWindows(inputs, size, window, segmentation) {
  const stitcher = new Stitcher(size, window, segmentation.numClasses, (logits, first, count) => segmentation.add(logits, first, count));
  const { starts } = stitcher, waiting = new Map();
  const isLarge = product(window) > LARGEST_SHARED_WINDOW;
  const used = isLarge ? engines.slice(0, 1) : engines;
  let next = 0, toldAt = 0;
  const work = async (engine) => {
    while (next < starts.length) {
      const index = next++;
      waiting.set(index, await engine.run(cropOf(inputs, starts[index], window, stitcher.front), window));
      while (waiting.has(stitcher.done)) {
        const place = stitcher.done, logits = waiting.get(place);
        waiting.delete(place);
        stitcher.add(starts[place], logits);
      }
      if (performance.now() - toldAt < SLOWEST_REPORT_MS) continue;
      toldAt = performance.now();
      tell("segmenting", stitcher.done / starts.length);
    }
  };
  tell("segmenting", 0);
  await Promise.all(used.map(work));
}

function requireChannels(scans, found) {
  const wanted = facts.inChannels, noun = (count) => `${count} channel${count === 1 ? "" : "s"}`;
  if (found === wanted) return;
  const hint = wanted === 1 ? "Open one scan at a time."
    : `Open all ${wanted} files of a scan together, named so that their order is that of the channels, or one four-dimensional file.`;
  throw new Problem(`${scans.map((scan) => scan.name).join(", ")}: has ${noun(found)}, and the network takes ${wanted}`, hint);
}

function requireMemory(placement, window, channels) {
  const [, height, width] = placement.grid.size, voxels = product(placement.stored.size);
  const numClasses = facts.labels.length + (facts.activation === "softmax" ? 1 : 0);
  const slab = window[0] * Math.max(height, window[1]) * Math.max(width, window[2]) * 4 * (numClasses + 1);
  const grid = placement.isResampled ? 4 * product(placement.grid.size) * channels.length : 0;
  const stored = channels.reduce((sum, values) => sum + values.byteLength, 0);
  const bytes = slab + grid + stored + 8 * voxels;
  if (bytes > LARGEST_BYTES) {
    throw tooLarge(`needs about ${Math.round(bytes / 2 ** 20).toLocaleString("en")} MiB of memory, more than the ${LARGEST_BYTES / 2 ** 20} MiB of a browser tab`);
  }
}

async function packedMask(labelMap, geometry) {
  const stream = new Blob([niftiBytes(labelMap, geometry)]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(stream).blob();
}
