// Volumes and where they lie in the patient. Arrays run z, y, x with x fastest, as in lunet; lists
// of three are in that order, but for origins and directions, which are x, y, z (LPS).
"use strict";

/** What a person has to know, in one line, and how to mend it. */
class Problem extends Error {
  constructor(message, hint = "") {
    super(message);
    this.hint = hint;
  }
}

const COPY_HINT = "Open it in a viewer, or copy it again from its source.";
const damaged = (name, reason) => new Problem(`${name}: cannot be read: ${reason}`, COPY_HINT);
const inWords = (values) => [...values].map((value) => String(Number(value.toPrecision(6)))).join(", ");
const product = (values) => values.reduce((all, value) => all * value, 1);

/** Half to even, as Python and numpy round. */
function roundEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

const SKEW = 1e-3; // headers store cosines as float32 or as rounded decimals
const SMALLEST_SPACING_MM = 1e-6, LARGEST_SPACING_MM = 1e4, LARGEST_OFFSET_MM = 1e7;
const LARGEST_EDGE = 2 ** 20;
const SMALLEST_USUAL_MM = 1e-3, LARGEST_USUAL_MM = 100;

/** A geometry in which every number means something. `columns` are the axes x, y, z in mm. */
function checkedGeometry(name, { sizes, spacing, origin, columns }) {
  if (sizes.length !== 3 || !sizes.every((size) => size > 0 && size <= LARGEST_EDGE)) {
    throw damaged(name, `its header says ${sizes.join(" x ")} voxels`);
  }
  if (!spacing.every((mm) => mm >= SMALLEST_SPACING_MM && mm <= LARGEST_SPACING_MM)) {
    throw damaged(name, `its voxel spacing (x, y, z) is (${inWords(spacing)}) mm`);
  }
  if (!origin.every((mm) => Math.abs(mm) <= LARGEST_OFFSET_MM)) {
    throw damaged(name, `its origin (x, y, z) is (${inWords(origin)}) mm`);
  }
  const direction = [0, 1, 2].flatMap((row) => columns.map((column) => column[row]));
  for (let one = 0; one < 3; one++) {
    for (let other = one; other < 3; other++) {
      const found = dot(columns[one], columns[other]);
      if (!(Math.abs(found - (one === other ? 1 : 0)) <= SKEW)) {
        throw new Problem(
          `${name}: cannot be read: its axes are not at right angles (direction (${inWords(direction)}))`,
          "Resample it onto a grid with right angles first.",
        );
      }
    }
  }
  return { size: [...sizes].reverse(), spacing: [...spacing].reverse(), origin: [...origin], direction };
}

/** Metres and micrometres that were meant as mm lie outside of what scanners write. */
function doubtsOnUnit(name, { spacing }) {
  const low = Math.min(...spacing), high = Math.max(...spacing);
  if (low >= SMALLEST_USUAL_MM && high <= LARGEST_USUAL_MM) return [];
  return [`${name}: has voxels of ${inWords([low])} to ${inWords([high])} mm; is their unit right?`];
}

const dot = (one, other) => one.reduce((sum, value, index) => sum + value * other[index], 0);
const norm = (vector) => Math.sqrt(dot(vector, vector));
const cross = ([a, b, c], [d, e, f]) => [b * f - c * e, c * d - a * f, a * e - b * d];

/** Lengths and unit vectors of the columns of a matrix from voxels to mm. */
function axesOf(name, columns) {
  const spacing = columns.map(norm);
  if (!spacing.every((length) => Number.isFinite(length) && length > 0)) {
    throw damaged(name, `its axes do not span a volume (matrix (${inWords(columns.flat())}))`);
  }
  return { spacing, columns: columns.map((column, axis) => column.map((value) => value / spacing[axis])) };
}

/** Whether two volumes lie on one grid, but for the rounding of headers. */
function sameGrid(one, other) {
  const voxel = Math.min(...one.spacing);
  const near = (mine, theirs, tolerance) => mine.every((value, index) => Math.abs(value - theirs[index]) <= tolerance);
  return near(one.size, other.size, 0) && near(one.spacing, other.spacing, 1e-3 * voxel)
    && near(one.origin, other.origin, 1e-2 * voxel) && near(one.direction, other.direction, 1e-3);
}

const POSITIVE = "LPS", NEGATIVE = "RAI";

/** For each stored axis x, y, z the patient's axis (L, P, S) that it lies nearest to, and its sign. */
function patientAxes(direction) {
  const owners = [null, null, null];
  const rows = new Set([0, 1, 2]), columns = new Set([0, 1, 2]);
  while (columns.size) {
    let best = null;
    for (const row of rows) {
      for (const column of columns) {
        const value = direction[3 * row + column];
        // ITK takes the largest cosine that is left, and of equal ones the last.
        if (best === null || Math.abs(value) >= Math.abs(best.value)) best = { row, column, value };
      }
    }
    owners[best.column] = { axis: best.row, sign: best.value < 0 ? -1 : 1 };
    rows.delete(best.row);
    columns.delete(best.column);
  }
  return owners;
}

/**
 * How a stored grid is turned and resampled: `axes` has the stored array axis that becomes each of z,
 * y, x, and `mirrored` whether it runs backwards.
 */
function place(stored, orientation, spacing) {
  let order = [0, 1, 2], flips = [false, false, false];
  if (orientation !== null) {
    const owners = patientAxes(stored.direction);
    const wanted = [...orientation].map((letter) => {
      const positive = POSITIVE.indexOf(letter);
      return { axis: positive >= 0 ? positive : NEGATIVE.indexOf(letter), sign: positive >= 0 ? 1 : -1 };
    });
    order = wanted.map(({ axis }) => owners.findIndex((owner) => owner.axis === axis));
    flips = wanted.map(({ sign }, index) => owners[order[index]].sign !== sign);
  }
  const axes = [...order].reverse().map((axis) => 2 - axis);
  const mirrored = [...flips].reverse();
  const orientedSize = axes.map((axis) => stored.size[axis]);
  const orientedSpacing = axes.map((axis) => stored.spacing[axis]);
  let size = orientedSize;
  if (spacing !== null) {
    size = orientedSize.map((count, axis) => Math.max(1, roundEven((count * orientedSpacing[axis]) / spacing[axis])));
  }
  const grid = { size, spacing: spacing ?? orientedSpacing };
  const differs = (one, other) => one.some((value, index) => value !== other[index]);
  const isResampled = differs(grid.size, orientedSize) || differs(grid.spacing, orientedSpacing);
  return { stored, axes, mirrored, grid, orientedSize, orientedSpacing, isResampled };
}

/** Where the voxels of a stored array lie for someone who counts along the turned axes. */
function turnedView(placement) {
  const [, height, width] = placement.stored.size;
  const stored = [height * width, width, 1];
  const strides = placement.axes.map((axis) => stored[axis]);
  let offset = 0;
  placement.mirrored.forEach((isMirrored, axis) => {
    if (!isMirrored) return;
    offset += (placement.orientedSize[axis] - 1) * strides[axis];
    strides[axis] = -strides[axis];
  });
  return { offset, strides, size: placement.orientedSize };
}

/** Between which two input voxels each output voxel lies; outer corners of the grids coincide. */
function interpolation(sizeIn, spacingIn, sizeOut, spacingOut) {
  const lower = new Int32Array(sizeOut), upper = new Int32Array(sizeOut), share = new Float64Array(sizeOut);
  for (let index = 0; index < sizeOut; index++) {
    // Beyond the outermost centres there is nothing to interpolate with.
    const at = Math.min(Math.max((index + 0.5) * (spacingOut / spacingIn) - 0.5, 0), sizeIn - 1);
    lower[index] = Math.floor(at);
    upper[index] = Math.min(lower[index] + 1, sizeIn - 1);
    share[index] = at - lower[index];
  }
  return { lower, upper, share };
}
