// From a stored volume to the network's input, by the rules of lunet_cli/engine/data/preprocessing.py
// and with its rounding: float32 wherever numpy has it.

const TINY = 1e-8; // divides constant channels
const LARGEST_INPUT = 1e18; // products of two such numbers still fit into float32

/** A channel on the network's grid: values, where they lie among them, and how they are scaled. */
function networkChannel(name, values, placement, normalization) {
  let view = turnedView(placement), found = values;
  if (placement.isResampled) {
    found = resampled(values, view, placement);
    const [depth, height, width] = placement.grid.size;
    view = { offset: 0, strides: [height * width, width, 1], size: [depth, height, width] };
  }
  return { values: found, view, scaling: scalingOf(name, found, normalization) };
}

/** Linear interpolation onto the network's grid; beyond the outermost centres, the nearest voxel. */
function resampled(values, view, placement) {
  const { size, spacing } = placement.grid;
  const [zs, ys, xs] = [0, 1, 2].map((axis) => {
    const { lower, upper, share } = interpolation(view.size[axis], placement.orientedSpacing[axis], size[axis], spacing[axis]);
    const stride = view.strides[axis];
    return { lower: lower.map((at) => at * stride), upper: upper.map((at) => at * stride), share };
  });
  const target = new Float32Array(product(size));
  const mix = (one, other, share) => one + (other - one) * share;
  let at = 0;
  for (let z = 0; z < size[0]; z++) {
    for (let y = 0; y < size[1]; y++) {
      const corners = [zs.lower[z] + ys.lower[y], zs.lower[z] + ys.upper[y], zs.upper[z] + ys.lower[y], zs.upper[z] + ys.upper[y]];
      const [a, b, c, d] = corners.map((corner) => corner + view.offset);
      const shareY = ys.share[y], shareZ = zs.share[z];
      for (let x = 0; x < size[2]; x++) {
        const low = xs.lower[x], high = xs.upper[x], share = xs.share[x];
        const front = mix(mix(values[a + low], values[a + high], share), mix(values[b + low], values[b + high], share), shareY);
        const back = mix(mix(values[c + low], values[c + high], share), mix(values[d + low], values[d + high], share), shareY);
        target[at++] = mix(front, back, shareZ);
      }
    }
  }
  return target;
}

/** What is subtracted, what it is divided by, and whether the rest is clipped to 0..1. */
function scalingOf(name, values, { name: how, window_level: level, window_width: width }) {
  const [low, high] = extremesOf(values);
  let found = { offset: 0, divisor: 1, isClipped: false };
  if (how === "ct_window") found = { offset: level - width / 2, divisor: width, isClipped: true };
  if (how === "minmax") found = { offset: low, divisor: Math.max(high - low, TINY), isClipped: false };
  if (how === "zscore") {
    const { mean, deviation } = momentsOf(values);
    found = { offset: mean, divisor: Math.max(deviation, TINY), isClipped: false };
  }
  // Numbers of Python meet arrays in float32.
  found.offset = Math.fround(found.offset);
  found.divisor = Math.fround(found.divisor);
  // All scalings are monotone: where the extremes are sound, so is what lies between them.
  if (![low, high].every((value) => Math.abs(scaled(value, found)) <= LARGEST_INPUT)) {
    throw new Problem(
      `${name}: its intensities, ${inWords([low, high]).replace(", ", " to ")}, give no finite numbers that a network `
        + `can compute with (normalization ${how})`,
      "Are they right? Clip values that stand for missing or saturated voxels.",
    );
  }
  return found;
}

function scaled(value, { offset, divisor, isClipped }) {
  const found = Math.fround(Math.fround(Math.fround(value) - offset) / divisor);
  return isClipped ? Math.min(Math.max(found, 0), 1) : found;
}

function extremesOf(values) {
  let low = Infinity, high = -Infinity;
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

function momentsOf(values) {
  let sum = 0, squares = 0;
  for (let index = 0; index < values.length; index++) sum += values[index];
  const mean = sum / values.length;
  for (let index = 0; index < values.length; index++) squares += (values[index] - mean) ** 2;
  return { mean, deviation: Math.sqrt(squares / values.length) };
}

/** The input (C, *window) of the window that begins at `start`; what lies around the volume is 0. */
function cropOf(channels, start, window, front) {
  const [depth, height, width] = window, input = new Float32Array(channels.length * depth * height * width);
  const ranges = window.map((edge, axis) => {
    const first = start[axis] - front[axis];
    return [Math.max(0, -first), Math.min(edge, channels[0].view.size[axis] - first), first];
  });
  const [[z0, z1, firstZ], [y0, y1, firstY], [x0, x1, firstX]] = ranges;
  channels.forEach(({ values, view, scaling }, channel) => {
    const [strideZ, strideY, strideX] = view.strides;
    for (let z = z0; z < z1; z++) {
      for (let y = y0; y < y1; y++) {
        let from = view.offset + (z + firstZ) * strideZ + (y + firstY) * strideY + (x0 + firstX) * strideX;
        let to = ((channel * depth + z) * height + y) * width + x0;
        for (let x = x0; x < x1; x++, from += strideX) input[to++] = scaled(values[from], scaling);
      }
    }
  });
  return input;
}
