// DICOM series of planes that are not compressed, or by run lengths, by the rules of
// lunet_cli/engine/data/dicom*.py.

const IMPLICIT = "1.2.840.10008.1.2", BIG_ENDIAN = "1.2.840.10008.1.2.2";
const DEFLATED = "1.2.840.10008.1.2.1.99", RUN_LENGTHS = "1.2.840.10008.1.2.5";
const EXPLICIT = "1.2.840.10008.1.2.1", SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7";
const LONG_KINDS = ["OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UN", "UR", "UT", "SV", "UV"];
const UNDEFINED_LENGTH = 0xffffffff;
const ITEM = 0xfffee000, ITEM_END = 0xfffee00d, SEQUENCE_END = 0xfffee0dd;
const TAG = {
  syntax: 0x00020010, kind: 0x00080016, modality: 0x00080060, description: 0x0008103e, seriesUid: 0x0020000e,
  seriesNumber: 0x00200011, instance: 0x00200013, position: 0x00200032, orientation: 0x00200037,
  samples: 0x00280002, frames: 0x00280008, rows: 0x00280010, columns: 0x00280011, spacing: 0x00280030,
  allocated: 0x00280100, stored: 0x00280101, highBit: 0x00280102, isSigned: 0x00280103,
  intercept: 0x00281052, slope: 0x00281053, table: 0x00283000, thickness: 0x00180050,
  perFrame: 0x52009230, shared: 0x52009229, pixels: 0x7fe00010,
  planePosition: 0x00209113, planeOrientation: 0x00209116, measures: 0x00289110, scale: 0x00289145,
};
// Sequences are read where a value stands in them, and passed over elsewhere.
const SEQUENCES = new Set([TAG.perFrame, TAG.shared, TAG.planePosition, TAG.planeOrientation, TAG.measures, TAG.scale]);

/** Whether bytes begin as a DICOM file, with its preamble or without. */
function isDicom(head) {
  if (head.length < 132) return false;
  if (String.fromCharCode(...head.subarray(128, 132)) === "DICM") return true;
  return [2, 8].includes(head[0]) && head[1] === 0 && head[3] === 0;
}

/** The elements of a file by their tags: `at` is where a value stands, or its items. */
class Dicom {
  constructor(name, bytes) {
    this.name = name;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.little = true;
    this.explicit = true;
    let at = bytes[128] === 0x44 && bytes[129] === 0x49 ? 132 : 0;
    const meta = new Map();
    while (at + 8 <= bytes.length && this.view.getUint16(at, true) === 2) at = this.element(at, meta);
    this.syntax = (this.text(meta.get(TAG.syntax)) || (at > 0 ? IMPLICIT : this.guessed(at)));
    if (this.syntax === DEFLATED) {
      throw new Problem(`${name}: cannot be read: its data set is deflated`, "Convert it, for instance with dcmconv.");
    }
    this.explicit = this.syntax !== IMPLICIT;
    this.little = this.syntax !== BIG_ENDIAN;
    this.top = new Map();
    this.elements(at, bytes.length, this.top);
  }

  /** Without a header, two letters behind the first tag tell the explicit form. */
  guessed(at) {
    return /^[A-Z]{2}$/.test(String.fromCharCode(this.bytes[at + 4], this.bytes[at + 5])) ? EXPLICIT : IMPLICIT;
  }

  /** Read elements up to `end`, or to the mark that ends an item; return where that is. */
  elements(at, end, into) {
    while (at + 8 <= end) {
      if (this.tag(at) === ITEM_END) return at + 8;
      const next = this.element(at, into);
      if (into.has(TAG.pixels)) return next;
      at = next;
    }
    return end;
  }

  tag(at) {
    return this.view.getUint16(at, this.little) * 65536 + this.view.getUint16(at + 2, this.little);
  }

  element(at, into) {
    const tag = this.tag(at);
    let length = this.view.getUint32(at + 4, this.little), start = at + 8, kind = "";
    if (this.explicit) {
      kind = String.fromCharCode(this.bytes[at + 4], this.bytes[at + 5]);
      if (!/^[A-Z]{2}$/.test(kind)) throw damaged(this.name, "its header is damaged");
      length = this.view.getUint16(at + 6, this.little);
      if (LONG_KINDS.includes(kind)) {
        if (at + 12 > this.bytes.length) throw damaged(this.name, "it ends early");
        length = this.view.getUint32(at + 8, this.little);
        start = at + 12;
      }
    }
    if (tag === TAG.pixels) {
      into.set(tag, { start, length });
      return length === UNDEFINED_LENGTH ? this.bytes.length : start + length;
    }
    const isSequence = SEQUENCES.has(tag) || length === UNDEFINED_LENGTH || kind === "SQ";
    if (isSequence) {
      const items = [], stop = this.items(start, length, items);
      into.set(tag, { items });
      return stop;
    }
    if (start + length > this.bytes.length) throw damaged(this.name, "it ends early");
    into.set(tag, { start, length });
    return start + length;
  }

  items(at, length, into) {
    const end = length === UNDEFINED_LENGTH ? this.bytes.length : Math.min(at + length, this.bytes.length);
    while (at + 8 <= end) {
      const tag = this.tag(at), size = this.view.getUint32(at + 4, this.little);
      at += 8;
      if (tag === SEQUENCE_END) return at;
      if (tag !== ITEM) throw damaged(this.name, "a sequence in it is damaged");
      const item = new Map();
      into.push(item);
      const stop = size === UNDEFINED_LENGTH ? end : at + size;
      const reached = this.elements(at, Math.min(stop, end), item);
      at = size === UNDEFINED_LENGTH ? reached : stop;
    }
    return end;
  }

  text(element) {
    if (!element || element.items) return "";
    const part = this.bytes.subarray(element.start, element.start + element.length);
    return new TextDecoder("latin1").decode(part).replace(/[\0\s]+$/, "").trim();
  }

  word(tag, place = this.top) {
    return this.text(place.get(tag));
  }

  /** A short whole number. */
  short(tag, otherwise) {
    const element = this.top.get(tag);
    return element?.length >= 2 ? this.view.getUint16(element.start, this.little) : otherwise;
  }

  /** Finite decimals of an element; null where there are none. */
  decimals(tag, count, place, what) {
    const text = this.word(tag, place);
    if (text === "") return null;
    const found = text.split("\\").map((word) => Number(word.trim() || NaN));
    if (found.length !== count || !found.every((value) => Math.abs(value) < 1e12)) {
      const expected = count === 1 ? "a number" : `${count} numbers`;
      throw damaged(this.name, `its ${what} is '${text.slice(0, 60)}', not ${expected}`);
    }
    return found;
  }
}

/** Read the headers of files, and group them by their series. Files without an image are left out. */
async function findSeries(files, onFile = () => {}) {
  const series = new Map();
  let problem = null;
  for (const [index, file] of files.entries()) {
    onFile(index, files.length);
    let found;
    try {
      found = new Dicom(file.name, new Uint8Array(await file.arrayBuffer()));
      if (!found.top.has(TAG.rows)) {
        if (found.top.size) continue; // a report, or the list of a disc
        throw damaged(file.name, "it is not a DICOM file, or its header is damaged");
      }
    } catch (error) {
      // A damaged file does not tell its series, so it may be a slice of any of them.
      problem ??= error instanceof Problem ? error : damaged(file.name, "it is damaged");
      continue;
    }
    const uid = found.word(TAG.seriesUid);
    if (!series.has(uid)) series.set(uid, []);
    found.file = file;
    series.get(uid).push(found);
  }
  if (problem) throw new Problem(problem.message, "A slice may be missing; copy the series again.");
  return series;
}

/** What a person tells series apart by. */
function seriesInWords(files) {
  const [first] = files, number = first.word(TAG.seriesNumber), description = first.word(TAG.description);
  const words = [`${files.length} file${files.length === 1 ? "" : "s"}`];
  if (first.word(TAG.modality)) words.unshift(first.word(TAG.modality));
  if (description) words.unshift(`'${description}'`);
  return `${number ? `number ${number}` : "no number"}: ${words.join(", ")}`;
}

/** One series as a volume. */
function readSeries(name, files) {
  const planes = files.flatMap(planesOf);
  const { ordered, geometry, remarks } = stackOf(name, planes);
  const [rows, columns] = ordered[0].size;
  const values = new (kindOfPlanes(ordered))(ordered.length * rows * columns);
  ordered.forEach((plane, index) => readPlane(plane, values.subarray(index * rows * columns, (index + 1) * rows * columns)));
  return { name, geometry, channels: [narrow(name, values)], remarks: [...remarks, ...doubtsOnUnit(name, geometry)] };
}

function planesOf(file) {
  const kind = file.word(TAG.kind), samples = file.short(TAG.samples, 1), { name } = file;
  if (kind === SECONDARY_CAPTURE || kind.startsWith(`${SECONDARY_CAPTURE}.`)) {
    throw new Problem(`${name}: is a secondary capture, a picture without a place in the patient`);
  }
  if (file.word(TAG.modality) === "SEG") throw new Problem(`${name}: is a DICOM segmentation, not a scan`);
  if (samples !== 1) throw new Problem(`${name}: has ${samples} values per pixel, so it is a picture in colour`);
  if (file.top.has(TAG.table)) {
    throw new Problem(`${name}: scales its values by a table (Modality LUT Sequence), which is not supported`);
  }
  const allocated = file.short(TAG.allocated, 0), stored = file.short(TAG.stored, allocated);
  if (![8, 16, 32].includes(allocated) || !(stored > 0 && stored <= allocated)) {
    throw damaged(name, `it stores ${stored} of ${allocated} bits per pixel`);
  }
  if (file.short(TAG.highBit, stored - 1) !== stored - 1) {
    throw damaged(name, "its High Bit is not the last of its stored bits");
  }
  const numFrames = Number(file.word(TAG.frames) || 1), groups = file.top.get(TAG.perFrame)?.items;
  if (!groups && numFrames > 1) {
    throw new Problem(
      `${name}: has ${numFrames} frames without a position of their own`,
      "Enhanced multi-frame images and series of single slices can be read.",
    );
  }
  if (groups && groups.length !== numFrames) {
    throw damaged(name, `it has ${numFrames} frames, and ${groups.length} functional groups`);
  }
  return (groups ?? [null]).map((group, frame) => planeOf(file, group, frame, allocated, stored));
}

function planeOf(file, group, frame, allocated, stored) {
  const shared = file.top.get(TAG.shared)?.items?.[0];
  const numbers = (macro, tag, count, what, otherwise) => {
    let place = file.top;
    if (group) {
      const items = [group, shared].map((one) => one?.get(macro)?.items?.[0]);
      place = items.find((item) => item?.has(tag)) ?? new Map();
    }
    const found = file.decimals(tag, count, place, what) ?? otherwise;
    if (!found) throw new Problem(`${file.name}: has no ${what}, so its place in the patient is unknown`);
    return found;
  };
  return {
    file, frame, allocated, bits: stored,
    position: numbers(TAG.planePosition, TAG.position, 3, "Image Position Patient"),
    orientation: numbers(TAG.planeOrientation, TAG.orientation, 6, "Image Orientation Patient"),
    spacing: numbers(TAG.measures, TAG.spacing, 2, "Pixel Spacing"),
    thickness: numbers(TAG.measures, TAG.thickness, 1, "Slice Thickness", [0])[0],
    slope: numbers(TAG.scale, TAG.slope, 1, "Rescale Slope", [1])[0],
    intercept: numbers(TAG.scale, TAG.intercept, 1, "Rescale Intercept", [0])[0],
    size: [file.short(TAG.rows, 0), file.short(TAG.columns, 0)],
    isSigned: file.short(TAG.isSigned, 0) === 1,
    instance: group ? null : Number(file.word(TAG.instance) || NaN),
    numFrames: Number(file.word(TAG.frames) || 1),
  };
}

/** The smallest type that holds all rescaled values, whatever the stored ones are. */
function kindOfPlanes(planes) {
  let low = Infinity, high = -Infinity;
  for (const { slope, intercept, bits, isSigned } of planes) {
    if (!Number.isInteger(slope) || !Number.isInteger(intercept)) return Float32Array;
    const first = isSigned ? -(2 ** (bits - 1)) : 0;
    const ends = [first, first + 2 ** bits - 1].map((value) => value * slope + intercept);
    low = Math.min(low, ...ends);
    high = Math.max(high, ...ends);
  }
  const kinds = [[Uint8Array, 0, 255], [Int8Array, -128, 127], [Uint16Array, 0, 65535], [Int16Array, -32768, 32767]];
  return kinds.find(([, least, most]) => least <= low && high <= most)?.[0] ?? Float32Array;
}

/** Write the rescaled values of a plane. */
function readPlane(plane, target) {
  const stored = storedValues(plane);
  const { slope, intercept } = plane, spare = plane.allocated - plane.bits, unused = 32 - plane.bits;
  for (let index = 0; index < target.length; index++) {
    let value = stored[index];
    // Old files keep overlays in the bits above the stored ones.
    if (spare > 0) value = plane.isSigned ? (value << unused) >> unused : (value << unused) >>> unused;
    target[index] = slope === 1 && intercept === 0 ? value : value * slope + intercept;
  }
}

function storedValues(plane) {
  const { file, frame, allocated, isSigned, numFrames } = plane, count = plane.size[0] * plane.size[1];
  const element = file.top.get(TAG.pixels), width = allocated / 8, code = `${isSigned ? "i" : "u"}${width}`;
  if (!element) throw damaged(file.name, "it has no pixels, or ends before them");
  if ([IMPLICIT, EXPLICIT, BIG_ENDIAN].includes(file.syntax)) {
    const start = element.start + frame * count * width;
    return numbersAt(file.name, { bytes: file.bytes, isWhole: true }, start, count, code, !file.little);
  }
  if (file.syntax !== RUN_LENGTHS) {
    throw new Problem(
      `${file.name}: its pixels are compressed (${file.syntax}), which this page cannot unpack`,
      "Unpack the series first, for instance with gdcmconv --raw, or use `lunet predict`.",
    );
  }
  const fragment = fragmentOf(file, element.start, frame, numFrames);
  return new NUMBERS[code](unpackRuns(file.name, fragment, count, width).buffer);
}

/** The compressed bytes of a frame: item 0 is a table of offsets, and each other one a frame. */
function fragmentOf(file, start, frame, numFrames) {
  const found = [];
  let at = start;
  while (at + 8 <= file.bytes.length && file.tag(at) === ITEM) {
    const length = file.view.getUint32(at + 4, true);
    found.push(file.bytes.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  if (found.length !== numFrames + 1) throw damaged(file.name, "its pixels are damaged or incomplete");
  return found[frame + 1];
}

/** Run lengths (PS3.5, annex G): a segment for each byte of a value, the highest first. */
function unpackRuns(name, packed, count, width) {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength), target = new Uint8Array(count * width);
  if (packed.length < 64 || view.getUint32(0, true) !== width) throw damaged(name, "its pixels are damaged");
  for (let segment = 0; segment < width; segment++) {
    const end = segment + 1 < width ? view.getUint32(8 + 4 * segment, true) : packed.length;
    let at = view.getUint32(4 + 4 * segment, true), done = 0;
    const put = (value) => { target[done++ * width + width - 1 - segment] = value; };
    while (done < count && at < end) {
      const length = view.getInt8(at++);
      for (let left = length; left >= 0 && done < count && at < end; left--) put(packed[at++]);
      if (length >= 0 || length === -128) continue;
      for (let left = 1 - length; left > 0 && done < count; left--) put(packed[at]);
      at++;
    }
    if (done < count) throw damaged(name, "its pixels are damaged or incomplete");
  }
  return target;
}

const UNEVEN = 0.1; // positions are rounded, so small differences of distances are common
const SHIFT_PIXELS = 0.5; // sideways, less than half a pixel, which no voxel notices
const SAME_PLACE = 0.01; // of the usual distance

/** Planes in the order of their places, and the grid that they lie on. */
function stackOf(name, planes) {
  requireAlike(name, planes);
  const across = planes[0].orientation.slice(0, 3), down = planes[0].orientation.slice(3);
  const normal = cross(across, down);
  const ordered = planes.map((plane) => ({ ...plane, place: dot(plane.position, normal) })).sort((one, other) => one.place - other.place);
  const [betweenRows, betweenColumns] = planes[0].spacing, remarks = doubtsOnInstances(name, ordered);
  let distance = planes[0].thickness;
  if (planes.length > 1) {
    distance = evenDistance(name, ordered);
    requireStraight(name, ordered, normal.map((value) => value * distance), Math.min(betweenRows, betweenColumns));
  } else if (!(distance > 0)) {
    distance = 1;
    remarks.push(`${name}: has one slice and does not say its thickness; taken as 1 mm`);
  }
  const geometry = checkedGeometry(name, {
    sizes: [planes[0].size[1], planes[0].size[0], planes.length],
    spacing: [betweenColumns, betweenRows, distance],
    origin: ordered[0].position,
    columns: [across, down, normal],
  });
  return { ordered, geometry, remarks };
}

function requireAlike(name, planes) {
  const [first] = planes;
  for (const plane of planes) {
    if (plane.size.join() !== first.size.join()) throw damaged(name, "its slices differ in size");
    if (!plane.spacing.every((mm) => mm > 0)) throw damaged(name, `its Pixel Spacing is ${inWords(plane.spacing)}`);
    if (!allClose(plane.spacing, first.spacing, 1e-3)) throw damaged(name, "its slices differ in their pixel spacing");
    if (!plane.orientation.every((value, index) => Math.abs(value - first.orientation[index]) <= SKEW)) {
      throw new Problem(
        `${name}: the slices of its DICOM series have several orientations`,
        "Is it a localizer, or are two scans mixed? Keep the slices of one scan in the folder.",
      );
    }
  }
}

function evenDistance(name, planes) {
  const distances = planes.slice(1).map((plane, index) => plane.place - planes[index].place);
  const sorted = [...distances].sort((one, other) => one - other), typical = medianOf(sorted);
  if (sorted[0] < SAME_PLACE * Math.max(typical, 1e-6)) {
    const places = new Set(planes.map(({ place: at }) => at.toFixed(3))).size;
    if (places > 1 && planes.length % places === 0) {
      throw new Problem(
        `${name}: holds ${planes.length / places} images at each of ${places} places: several times, echoes or b-values are not one volume`,
        "Split the series into one folder for each volume.",
      );
    }
    throw new Problem(`${name}: two of its slices lie at the same place`, "Is a slice there twice? Keep one of them.");
  }
  const mean = (planes.at(-1).place - planes[0].place) / (planes.length - 1);
  if (sorted.at(-1) - sorted[0] > UNEVEN * mean) {
    throw new Problem(
      `${name}: the ${planes.length} slices of its DICOM series lie ${inWords([sorted[0]])} to ${inWords([sorted.at(-1)])} mm apart`,
      "Is a slice missing, damaged or there twice? Copy the series again, or resample it to equal distances.",
    );
  }
  return mean;
}

function medianOf(sorted) {
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Refuse a sheared stack, whose slices no grid with right angles holds in their places. */
function requireStraight(name, planes, step, pixel) {
  const [first] = planes, length = dot(step, step);
  let worst = 0;
  planes.forEach((plane, index) => {
    const sideways = plane.position.map((mm, axis) => mm - first.position[axis] - index * step[axis]);
    // What a position deviates along the normal, `evenDistance` has judged.
    const along = dot(sideways, step) / length;
    worst = Math.max(worst, norm(sideways.map((mm, axis) => mm - along * step[axis])));
  });
  if (worst > SHIFT_PIXELS * pixel) {
    throw new Problem(
      `${name}: its slices are shifted sideways by up to ${inWords([worst])} mm (a tilted gantry, or two scans mixed)`,
      "Resample it to right angles first; dcm2niix does so.",
    );
  }
}

/** That slices are missing at an end, the distances between the others cannot show; numbers can. */
function doubtsOnInstances(name, planes) {
  const numbers = new Set(planes.map(({ instance }) => instance).filter((number) => Number.isInteger(number)));
  if (numbers.size !== planes.length || planes.length === 1) return [];
  const first = Math.min(...numbers), last = Math.max(...numbers), missing = last - first + 1 - numbers.size;
  if (first < 0 || (first <= 1 && !missing)) return [];
  const what = missing ? `${missing} of its instance numbers ${first} to ${last} are missing` : `its instance numbers begin at ${first}`;
  return [`${name}: may be incomplete: ${what}`];
}
