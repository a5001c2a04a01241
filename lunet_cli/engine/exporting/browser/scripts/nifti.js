// NIfTI, read and written by the rules of lunet_cli/engine/data/nifti.py.

const NIFTI_NUMBERS = {
  2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
};
const NIFTI_COLOURS = { 128: 3, 2304: 4 }; // bytes side by side
const MM_PER_UNIT = [1, 1000, 1, 0.001];
const SCANNER = 1;
const SAME_SPACING = 1e-3, SAME_MM = 0.01, SAME_COSINE = 1e-3; // headers are float32

async function readNifti(file) {
  const content = await readBytes(file), { bytes } = content, name = file.name;
  const header = niftiHeader(name, bytes);
  const numColours = NIFTI_COLOURS[header.datatype] ?? 1;
  const code = numColours > 1 ? "u1" : NIFTI_NUMBERS[header.datatype];
  if (!code) {
    throw new Problem(
      `${name}: cannot be read: its data type ${header.datatype} is not one of whole or real numbers`,
      "Complex numbers and single bits must be converted first.",
    );
  }
  if (header.bits !== 8 * NUMBERS[code].BYTES_PER_ELEMENT * numColours) {
    throw damaged(name, `its header says ${header.bits} bits per voxel, and data type ${header.datatype}`);
  }
  const { sizes, numStacked } = niftiSizes(name, header);
  const { columns, origin, remarks } = niftiMatrix(name, header);
  const axes = axesOf(name, columns);
  const stored = header.pixdim.slice(1, 4).map((mm) => mm * header.mmPerUnit);
  // A norm adds rounding, and ITK takes the digits of `pixdim`.
  if (allClose(axes.spacing, stored, SAME_SPACING)) axes.spacing = stored;
  const geometry = checkedGeometry(name, { sizes, spacing: axes.spacing, origin, columns: axes.columns });
  const count = product(sizes) * numStacked * numColours;
  let values = numbersAt(name, content, header.offset, count, code, header.isBigEndian);
  if (numColours === 1) values = rescaled(values, header.slope, header.intercept);
  const channels = channelsOf(narrow(name, values), numStacked * numColours, numColours > 1);
  return { name, geometry, channels, remarks: [...remarks, ...doubtsOnUnit(name, geometry)] };
}

function allClose(values, wanted, relative) {
  return values.every((value, index) => Math.abs(value - wanted[index]) <= relative * Math.abs(wanted[index]));
}

function niftiHeader(name, bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (start) => String.fromCharCode(...bytes.subarray(start, start + 4));
  if (bytes.length >= 348) {
    for (const little of [true, false]) {
      const size = view.getInt32(0, little);
      if (size === 348 && text(344) === "n+1\0") return niftiFields(name, view, little, 1);
      if (size === 540 && text(4) === "n+2\0" && bytes.length >= 540) return niftiFields(name, view, little, 2);
    }
    if (text(344) === "ni1\0" || text(4) === "ni2\0") throw damaged(name, "it is the header of a pair .hdr and .img");
  }
  throw damaged(name, "it is not an image, or its format is unknown");
}

function niftiFields(name, view, little, version) {
  const list = (count, start, width, read) => Array.from({ length: count }, (_, index) => read(start + index * width));
  const i2 = (at) => view.getInt16(at, little), i4 = (at) => view.getInt32(at, little);
  const i8 = (at) => Number(view.getBigInt64(at, little));
  const f4 = (at) => view.getFloat32(at, little), f8 = (at) => view.getFloat64(at, little);
  const old = version === 1, real = old ? f4 : f8, width = old ? 4 : 8;
  const offset = old ? f4(108) : i8(168);
  if (!(Number.isFinite(offset) && offset >= (old ? 352 : 544))) {
    throw damaged(name, `its voxels would begin at byte ${offset}, within its header`);
  }
  let slope = real(old ? 112 : 176), intercept = real(old ? 116 : 184);
  if (!Number.isFinite(slope)) [slope, intercept] = [1, 0];
  if (slope === 0) slope = 1;
  if (!Number.isFinite(intercept)) intercept = 0;
  const units = old ? view.getUint8(123) : i4(500);
  return {
    isBigEndian: !little,
    dim: old ? list(8, 40, 2, i2) : list(8, 16, 8, i8),
    datatype: i2(old ? 70 : 12),
    bits: i2(old ? 72 : 14),
    pixdim: list(8, old ? 76 : 104, width, real),
    offset: Math.trunc(offset),
    slope,
    intercept,
    mmPerUnit: MM_PER_UNIT[units & 7] ?? 1, // the upper bits are the unit of time
    qform: old ? i2(252) : i4(344),
    sform: old ? i2(254) : i4(348),
    quaternion: list(3, old ? 256 : 352, width, real),
    qoffset: list(3, old ? 268 : 376, width, real),
    srow: list(12, old ? 280 : 400, width, real),
  };
}

/** Voxels along x, y, z; and values per voxel, which stand along one axis behind these. */
function niftiSizes(name, header) {
  const numAxes = header.dim[0];
  if (!(numAxes >= 1 && numAxes <= 7)) throw damaged(name, `its header says ${numAxes} dimensions`);
  const sizes = header.dim.slice(1, numAxes + 1);
  while (sizes.length > 3 && sizes.at(-1) === 1) sizes.pop();
  const numStacked = product(sizes.slice(3));
  if (sizes.length < 3 || numStacked !== Math.max(1, ...sizes.slice(3))) throw notThreeDimensional(name, sizes);
  return { sizes: sizes.slice(0, 3), numStacked };
}

function notThreeDimensional(name, sizes) {
  return new Problem(
    `${name}: expected a volume of three dimensions (or four, the last for channels), found `
      + `${sizes.length} dimensions (${sizes.join(" x ")})`,
    "Stack two-dimensional slices into one volume first.",
  );
}

/** The columns and the origin of the matrix from voxels (x, y, z) to mm in LPS, and what is odd. */
function niftiMatrix(name, header) {
  if (header.sform <= 0 && header.qform <= 0) {
    const [x, y, z] = pixdimOf(name, header).map((mm) => mm * header.mmPerUnit);
    const remark = `${name}: does not say how its axes lie in the patient (neither sform nor qform); taken as left, posterior, superior`;
    return { columns: [[x, 0, 0], [0, y, 0], [0, 0, z]], origin: [0, 0, 0], remarks: [remark] };
  }
  const { matrix, which, remarks } = chosenMatrix(name, header);
  if (!matrix.flat().every(Number.isFinite)) throw damaged(name, `its ${which} holds numbers that are not finite`);
  const toLps = ([x, y, z]) => [-x, -y, z].map((mm) => mm * header.mmPerUnit);
  const [a, b, c, origin] = matrix.map(toLps);
  return { columns: [a, b, c], origin, remarks };
}

/** Of sform and qform, the one that ITK takes: four columns. */
function chosenMatrix(name, header) {
  if (header.sform <= 0) return { matrix: qformOf(name, header), which: "qform", remarks: [] };
  const sform = [0, 1, 2, 3].map((column) => [0, 4, 8].map((row) => header.srow[row + column]));
  const doubts = () => doubtsOnSpacing(name, header, sform);
  if (header.qform <= 0) return { matrix: sform, which: "sform", remarks: doubts() };
  const qform = qformOf(name, header);
  if (areAlike(sform, qform)) return { matrix: sform, which: "sform", remarks: doubts() };
  const isSkewed = isSkewedMatrix(sform);
  const which = header.sform === SCANNER && !isSkewed ? "sform" : "qform";
  const why = isSkewed ? ", whose axes are not at right angles" : "";
  const remark = `${name}: its sform${why} (code ${header.sform}) and its qform (code ${header.qform}) place it `
    + `differently; taken from the ${which}`;
  if (which === "qform") return { matrix: qform, which, remarks: [remark] };
  return { matrix: sform, which, remarks: [remark, ...doubts()] };
}

/** The matrix of a quaternion, as nifti1_io computes it. */
function qformOf(name, header) {
  let [b, c, d] = header.quaternion;
  const squares = b * b + c * c + d * d;
  // Rounding to float32 leaves a rotation by half a turn slightly above 1; more is no rotation.
  if (!(squares <= 1 + 1e-3)) {
    throw damaged(name, `its qform is not a rotation (quaternion ${inWords([b, c, d])})`);
  }
  let a = Math.sqrt(Math.max(0, 1 - squares));
  const length = Math.sqrt(a * a + squares);
  [a, b, c, d] = [a, b, c, d].map((value) => value / length);
  const [x, y, z] = pixdimOf(name, header);
  // A quaternion cannot mirror; the sign of the otherwise unused pixdim[0] does.
  const last = header.pixdim[0] < 0 ? -z : z;
  return [
    [a * a + b * b - c * c - d * d, 2 * (b * c + a * d), 2 * (b * d - a * c)].map((value) => value * x),
    [2 * (b * c - a * d), a * a + c * c - b * b - d * d, 2 * (c * d + a * b)].map((value) => value * y),
    [2 * (b * d + a * c), 2 * (c * d - a * b), a * a + d * d - c * c - b * b].map((value) => value * last),
    header.qoffset,
  ];
}

function pixdimOf(name, header) {
  const spacing = header.pixdim.slice(1, 4);
  if (!spacing.every((mm) => Number.isFinite(mm) && mm > 0)) {
    throw damaged(name, `its voxel spacing (pixdim) is ${inWords(spacing)}`);
  }
  return spacing;
}

function doubtsOnSpacing(name, header, sform) {
  const spacing = sform.slice(0, 3).map(norm), pixdim = header.pixdim.slice(1, 4);
  if (allClose(spacing, pixdim, SAME_SPACING)) return [];
  return [
    `${name}: its sform says a spacing of ${inWords(spacing)} mm (x, y, z), its pixdim ${inWords(pixdim)}; `
      + "taken from the sform, as the standard asks, while other tools may take pixdim",
  ];
}

function areAlike(one, other) {
  for (let axis = 0; axis < 3; axis++) {
    const scale = Math.max(norm(other[axis]), 1e-9);
    if (!one[axis].every((value, row) => Math.abs(value - other[axis][row]) / scale < SAME_COSINE)) return false;
  }
  return one[3].every((value, row) => Math.abs(value - other[3][row]) <= SAME_MM);
}

function isSkewedMatrix(matrix) {
  const axes = matrix.slice(0, 3).map((column) => column.map((value) => value / norm(column)));
  const pairs = [[0, 1], [0, 2], [1, 2]];
  return !pairs.every(([one, other]) => Math.abs(dot(axes[one], axes[other])) <= SAME_COSINE);
}

/** A label map as a NIfTI file with both forms, as ITK writes it. */
function niftiBytes(labels, geometry) {
  const bytes = new Uint8Array(352 + labels.byteLength), view = new DataView(bytes.buffer);
  const [depth, height, width] = geometry.size, [z, y, x] = geometry.spacing;
  const reals = (start, values) => values.forEach((value, index) => view.setFloat32(start + 4 * index, value, true));
  view.setInt32(0, 348, true);
  [3, width, height, depth, 1, 1, 1, 1].forEach((size, index) => view.setInt16(40 + 2 * index, size, true));
  view.setInt16(70, labels.BYTES_PER_ELEMENT === 1 ? 2 : 512, true);
  view.setInt16(72, 8 * labels.BYTES_PER_ELEMENT, true);
  // From LPS to RAS, by the signs of the first two rows.
  const signs = [-1, -1, 1], rows = [0, 1, 2];
  const rotation = rows.map((row) => rows.map((column) => signs[row] * geometry.direction[3 * row + column]));
  const offset = rows.map((row) => signs[row] * geometry.origin[row]);
  const { quaternion, qfac } = quaternionOf(rotation);
  reals(76, [qfac, x, y, z]);
  view.setFloat32(108, 352, true);
  view.setFloat32(112, 1, true);
  view.setUint8(123, 2); // millimetres
  view.setInt16(252, SCANNER, true);
  view.setInt16(254, SCANNER, true);
  reals(256, [...quaternion, ...offset]);
  rows.forEach((row) => {
    const [a, b, c] = rotation[row];
    reals(280 + 16 * row, [a * x, b * y, c * z, offset[row]]);
  });
  "n+1\0".split("").forEach((letter, index) => view.setUint8(344 + index, letter.charCodeAt(0)));
  bytes.set(new Uint8Array(labels.buffer, labels.byteOffset, labels.byteLength), 352);
  return bytes;
}

/** The quaternion (b, c, d) of a rotation, and whether its last axis is mirrored. */
function quaternionOf(matrix) {
  const [column0, column1, column2] = [0, 1, 2].map((column) => matrix.map((row) => row[column]));
  const qfac = dot(cross(column0, column1), column2) < 0 ? -1 : 1;
  const r = matrix.map(([x, y, z]) => [x, y, z * qfac]);
  const squares = [
    1 + r[0][0] + r[1][1] + r[2][2], 1 + r[0][0] - r[1][1] - r[2][2],
    1 - r[0][0] + r[1][1] - r[2][2], 1 - r[0][0] - r[1][1] + r[2][2],
  ];
  // Divided by the largest part, nothing is lost to rounding.
  const largest = squares.indexOf(Math.max(...squares));
  const half = Math.sqrt(squares[largest]) / 2, by = 4 * half;
  const sums = { ab: r[2][1] - r[1][2], ac: r[0][2] - r[2][0], ad: r[1][0] - r[0][1],
    bc: r[1][0] + r[0][1], bd: r[0][2] + r[2][0], cd: r[2][1] + r[1][2] };
  const parts = [
    [half, sums.ab / by, sums.ac / by, sums.ad / by], [sums.ab / by, half, sums.bc / by, sums.bd / by],
    [sums.ac / by, sums.bc / by, half, sums.cd / by], [sums.ad / by, sums.bd / by, sums.cd / by, half],
  ][largest];
  const sign = parts[0] < 0 ? -1 : 1; // a is not stored: it is the positive root
  return { quaternion: parts.slice(1).map((part) => part * sign), qfac };
}
