// A label map on the grid of the file, from final logits plane by plane, as
// lunet_cli/engine/inference/segmentation.py makes it.

class Segmentation {
  /** `labels` are pairs of name and value in the order of painting. */
  constructor(placement, labels, activation) {
    const values = labels.map(([, value]) => value);
    this.placement = placement;
    this.values = Uint16Array.from(values);
    this.isSoftmax = activation === "softmax";
    this.numClasses = values.length + (this.isSoftmax ? 1 : 0);
    this.counts = new Float64Array(values.length);
    const kind = Math.max(...values) <= 255 ? Uint8Array : Uint16Array;
    this.labelMap = new kind(product(placement.stored.size));
    this.view = turnedView(placement);
    const { grid, orientedSize, orientedSpacing } = placement;
    this.axes = [0, 1, 2].map((axis) => interpolation(grid.size[axis], grid.spacing[axis], orientedSize[axis], orientedSpacing[axis]));
    this.nextPlane = 0;
    this.kept = null;
  }

  /** Take in the logits of `count` planes of the network's grid from `first` on. */
  add(logits, first, count) {
    if (!this.placement.isResampled) {
      for (let plane = 0; plane < count; plane++) {
        this.decide(logits.data, logits.offset + plane * logits.strides[1], logits.strides[0], logits.strides[2], first + plane);
      }
      return;
    }
    const [depth] = this.axes;
    const planeAt = (index) => (index < first ? this.kept : this.planeOf(logits, index - first));
    while (this.nextPlane < depth.upper.length && depth.upper[this.nextPlane] < first + count) {
      const plane = this.nextPlane++;
      const mixed = this.interpolated(planeAt(depth.lower[plane]), planeAt(depth.upper[plane]), depth.share[plane]);
      const [, height, width] = this.view.size;
      this.decide(mixed, 0, height * width, width, plane);
    }
    // The next plane of the output may lie between this one and the first of the next call.
    this.kept = this.planeOf(logits, count - 1);
  }

  /** A copy (classes, rows, columns) of a plane. */
  planeOf({ data, offset, strides }, plane) {
    const [, height, width] = this.placement.grid.size, found = new Float32Array(this.numClasses * height * width);
    for (let k = 0; k < this.numClasses; k++) {
      for (let y = 0; y < height; y++) {
        const from = offset + k * strides[0] + plane * strides[1] + y * strides[2];
        found.set(data.subarray(from, from + width), (k * height + y) * width);
      }
    }
    return found;
  }

  /** A plane of the output between two of the network's grid. */
  interpolated(below, above, share) {
    const [, rows, columns] = this.placement.grid.size, [, height, width] = this.view.size;
    const [, ys, xs] = this.axes, found = new Float32Array(this.numClasses * height * width);
    const flat = new Float32Array(below.length), row = new Float32Array(columns);
    for (let index = 0; index < flat.length; index++) flat[index] = below[index] + share * (above[index] - below[index]);
    let at = 0;
    for (let k = 0; k < this.numClasses; k++) {
      for (let y = 0; y < height; y++) {
        const low = (k * rows + ys.lower[y]) * columns, high = (k * rows + ys.upper[y]) * columns, part = ys.share[y];
        for (let x = 0; x < columns; x++) row[x] = flat[low + x] + part * (flat[high + x] - flat[low + x]);
        for (let x = 0; x < width; x++) {
          const one = row[xs.lower[x]];
          found[at++] = one + xs.share[x] * (row[xs.upper[x]] - one);
        }
      }
    }
    return found;
  }

  /** Give each voxel of a plane its value. */
  decide(data, offset, perClass, perRow, plane) {
    const [, height, width] = this.view.size, [strideZ, strideY, strideX] = this.view.strides;
    for (let y = 0; y < height; y++) {
      let from = offset + y * perRow, to = this.view.offset + plane * strideZ + y * strideY;
      for (let x = 0; x < width; x++, from++, to += strideX) {
        this.labelMap[to] = this.isSoftmax ? this.exclusive(data, from, perClass) : this.painted(data, from, perClass);
      }
    }
  }

  /** The first largest class; 0 is the background. */
  exclusive(data, at, perClass) {
    let highest = data[at], found = 0;
    for (let k = 1; k < this.numClasses; k++) {
      const value = data[at + k * perClass];
      if (value > highest) {
        highest = value;
        found = k;
      }
    }
    if (found === 0) return 0;
    this.counts[found - 1]++;
    return this.values[found - 1];
  }

  /** Regions may overlap: later ones cover earlier ones. */
  painted(data, at, perClass) {
    let found = 0;
    for (let k = 0; k < this.numClasses; k++) {
      if (!(data[at + k * perClass] > 0)) continue;
      this.counts[k]++;
      found = this.values[k];
    }
    return found;
  }

  /** Volume of each region in ml, with what others cover of it. */
  volumesMl() {
    const voxelMl = product(this.placement.stored.spacing) / 1000;
    return Array.from(this.counts, (count) => count * voxelMl);
  }
}
