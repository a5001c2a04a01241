// Windows over a volume and their logits put together, slab by slab, as
// lunet_cli/engine/inference/sliding_window.py does it.

const NO_WEIGHT = 1e-12; // keeps the division finite where no window has been yet
const OVERLAP = 0.5;
const WHOLE_VOLUME_VOXELS = 128 ** 3, WINDOW_EDGE = 96;

/** Voxels of a window: those of the training; a network of whole volumes gets small ones in one piece. */
function windowOf(size, trained) {
  if (trained !== null) return trained;
  return product(size) <= WHOLE_VOLUME_VOXELS ? size : [WINDOW_EDGE, WINDOW_EDGE, WINDOW_EDGE];
}

/** First voxels of the windows along an axis, evenly spread, the last one flush. */
function windowStarts(size, edge) {
  const room = Math.max(size - edge, 0), stride = Math.max(1, Math.trunc(edge * (1 - OVERLAP)));
  const steps = Math.ceil(room / stride);
  return Array.from({ length: steps + 1 }, (_, step) => roundEven((step * room) / Math.max(1, steps)));
}

/** Weights that fall from 1 in the middle, with a standard deviation of an eighth of the edge. */
function importanceOf(window) {
  const profiles = window.map((edge) => Float32Array.from({ length: edge }, (_, index) => {
    const distance = (index - (edge - 1) / 2) / (edge / 8);
    return Math.exp(-0.5 * distance * distance);
  }));
  const weights = new Float32Array(product(window)), [depth, height, width] = profiles;
  let at = 0;
  for (const z of depth) {
    for (const y of height) {
      const both = Math.fround(z * y);
      // Corners of the volume are seen by one window only, and must not be divided by almost nothing.
      for (const x of width) weights[at++] = Math.max(both * x, 1e-4);
    }
  }
  return weights;
}

/**
 * Collects the logits of windows, which come in the order of `starts`, and hands on planes as soon
 * as no further window covers them: `onPlanes({ data, offset, strides }, first, count)`, where the
 * strides are those of class, plane and row.
 */
class Stitcher {
  constructor(size, window, numClasses, onPlanes) {
    this.size = size;
    this.window = window;
    this.numClasses = numClasses;
    this.onPlanes = onPlanes;
    this.front = size.map((voxels, axis) => Math.max(0, window[axis] - voxels) >> 1);
    const [planes, rows, columns] = size.map((voxels, axis) => windowStarts(voxels, window[axis]));
    this.starts = planes.flatMap((z) => rows.flatMap((y) => columns.map((x) => [z, y, x])));
    this.extent = [window[0], Math.max(size[1], window[1]), Math.max(size[2], window[2])];
    this.base = 0;
    this.done = 0;
  }

  add(start, logits) {
    this.done++;
    const last = this.done === this.starts.length;
    // A single window overlaps with none, and needs no buffer.
    if (this.starts.length === 1) return this.handOn(logits, this.window[0]);
    if (!this.total) this.makeRoom();
    this.advance(start[0]);
    this.accumulate(start, logits);
    if (last) this.advance(this.base + this.window[0]);
  }

  makeRoom() {
    const voxels = product(this.extent);
    this.total = new Float32Array(this.numClasses * voxels);
    this.weight = new Float32Array(voxels).fill(NO_WEIGHT);
    this.importance = importanceOf(this.window);
  }

  accumulate(start, logits) {
    const [depth, height, width] = this.window, [, rows, columns] = this.extent, voxels = product(this.extent);
    for (let z = 0; z < depth; z++) {
      for (let y = 0; y < height; y++) {
        const from = (z * height + y) * width, to = (z * rows + start[1] + y) * columns + start[2];
        for (let x = 0; x < width; x++) this.weight[to + x] += this.importance[from + x];
        for (let k = 0; k < this.numClasses; k++) {
          const source = from + k * depth * height * width, target = to + k * voxels;
          for (let x = 0; x < width; x++) this.total[target + x] += logits[source + x] * this.importance[from + x];
        }
      }
    }
  }

  /** Hand on all planes before `plane`, and make room for as many new ones. */
  advance(plane) {
    const count = plane - this.base;
    if (count === 0) return;
    const [depth, rows, columns] = this.extent, perPlane = rows * columns, size = count * perPlane;
    for (let k = 0; k < this.numClasses; k++) {
      const values = this.total.subarray(k * depth * perPlane, k * depth * perPlane + size);
      for (let index = 0; index < size; index++) values[index] /= this.weight[index];
    }
    this.handOn(this.total, count);
    for (let k = 0; k < this.numClasses; k++) {
      const values = this.total.subarray(k * depth * perPlane, (k + 1) * depth * perPlane);
      values.copyWithin(0, size);
      values.fill(0, values.length - size);
    }
    this.weight.copyWithin(0, size);
    this.weight.fill(NO_WEIGHT, this.weight.length - size);
    this.base = plane;
  }

  /** Cut off what lies around the volume. */
  handOn(data, count) {
    const [, height, width] = this.extent, [front, top, left] = this.front;
    const first = Math.max(this.base, front), stop = Math.min(this.base + count, front + this.size[0]);
    if (first >= stop) return;
    const strides = [this.extent[0] * height * width, height * width, width];
    const offset = (first - this.base) * strides[1] + top * width + left;
    this.onPlanes({ data, offset, strides }, first - front, stop - first);
  }
}
