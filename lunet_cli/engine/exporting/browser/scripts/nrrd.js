// NRRD files that hold their voxels themselves, by the rules of lunet_cli/engine/data/nrrd.py.

const NRRD_NUMBERS = [
  ["i1", "signed char|int8|int8_t"],
  ["u1", "uchar|unsigned char|uint8|uint8_t"],
  ["i2", "short|short int|signed short|signed short int|int16|int16_t"],
  ["u2", "ushort|unsigned short|unsigned short int|uint16|uint16_t"],
  ["i4", "int|signed int|int32|int32_t"],
  ["u4", "uint|unsigned int|uint32|uint32_t"],
  ["i8", "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t"],
  ["u8", "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t"],
  ["f4", "float"],
  ["f8", "double"],
];
const NRRD_SPACES = [ // signs of its axes in LPS
  [[-1, -1, 1], "right-anterior-superior|ras"],
  [[1, -1, 1], "left-anterior-superior|las"],
  [[1, 1, 1], "left-posterior-superior|lps|"], // `space dimension: 3` names none; ITK takes LPS
];
const DOMAIN_KINDS = ["domain", "space", "time", "???"];
const LARGEST_HEADER = 2 ** 20;

const meaningOf = (table, word) => table.find(([, words]) => words.split("|").includes(word))?.[0];

async function readNrrd(file) {
  const name = file.name, stored = { bytes: new Uint8Array(await file.arrayBuffer()), isWhole: true };
  const { fields, end } = nrrdHeader(name, stored.bytes);
  const sizes = nrrdNumbers(name, "sizes", fields.get("sizes") ?? "");
  if (Number(fields.get("dimension")) !== sizes.length) {
    throw damaged(name, `'dimension' is ${fields.get("dimension")}, and 'sizes' has ${sizes.length} numbers`);
  }
  if (!sizes.every((size) => Number.isInteger(size) && size > 0 && size <= LARGEST_EDGE)) {
    throw damaged(name, `its header says ${sizes.join(" x ")} voxels`);
  }
  const channelAxis = nrrdChannelAxis(name, fields, sizes), first = channelAxis === 0 ? 1 : 0;
  const domain = (values) => values.slice(first, first + 3);
  const { spacing, columns, origin } = nrrdGrid(name, fields, sizes, domain);
  const geometry = checkedGeometry(name, { sizes: domain(sizes), spacing, origin, columns });
  const { code, isBigEndian } = nrrdNumber(name, fields);
  const { content, start } = await nrrdVoxels(name, fields, stored, end, product(sizes) * NUMBERS[code].BYTES_PER_ELEMENT);
  const values = narrow(name, numbersAt(name, content, start, product(sizes), code, isBigEndian));
  const channels = channelsOf(values, channelAxis === null ? 1 : sizes[channelAxis], channelAxis === 0);
  const remarks = [...nrrdRemarks(name, fields), ...doubtsOnUnit(name, geometry)];
  return { name, geometry, channels, remarks };
}

function nrrdHeader(name, bytes) {
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, LARGEST_HEADER));
  if (!/^NRRD000[1-5]\r?\n/.test(head)) throw damaged(name, "it is not an image, or its format is unknown");
  const fields = new Map();
  let at = head.indexOf("\n") + 1;
  for (;;) {
    const stop = head.indexOf("\n", at);
    const line = head.slice(at, stop < 0 ? head.length : stop).trim();
    at = stop < 0 ? head.length : stop + 1;
    if (!line) break;
    if (line.startsWith("#") || line.includes(":=")) continue; // a comment, or a value for others
    const colon = line.indexOf(":");
    if (colon < 0) throw damaged(name, `its header has the line '${line.slice(0, 60)}', which is not a field`);
    fields.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
    if (stop < 0) break;
  }
  if (fields.has("data file") || fields.has("datafile")) {
    throw new Problem(`${name}: keeps its voxels in another file`, "Save it as one .nrrd file, for instance with 3D Slicer.");
  }
  return { fields, end: at };
}

function nrrdNumbers(name, field, text) {
  const numbers = text.split(/[\s,]+/).filter(Boolean).map(Number);
  if (!numbers.length || !numbers.every(Number.isFinite)) {
    throw damaged(name, `'${field}' is '${text.slice(0, 60)}', not numbers`);
  }
  return numbers;
}

/** The vectors of a field; null for `none`. */
function nrrdVectors(name, fields, field) {
  const text = fields.get(field), pattern = /none|\(([^()]*)\)/g;
  if (text.replace(pattern, "").trim()) throw damaged(name, `'${field}' is '${text.slice(0, 60)}', not vectors`);
  return [...text.matchAll(pattern)].map(([, inside]) => (inside === undefined ? null : nrrdNumbers(name, field, inside)));
}

/** The axis along which channels lie; null where there is none. */
function nrrdChannelAxis(name, fields, sizes) {
  if (sizes.length === 3) return null;
  if (sizes.length !== 4) throw notThreeDimensional(name, sizes);
  const indices = (items, isChannel) => items.flatMap((item, axis) => (isChannel(item) ? [axis] : []));
  let found = [];
  if (fields.has("space directions")) found = indices(nrrdVectors(name, fields, "space directions"), (vector) => vector === null);
  if (!found.length) {
    const kinds = (fields.get("kinds") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    found = indices(kinds, (kind) => !DOMAIN_KINDS.includes(kind));
  }
  if (!found.length) return 3; // as writers do that say nothing of kinds
  if (found.length > 1 || ![0, 3].includes(found[0])) {
    throw damaged(name, `its axes ${found.join(", ")} are not axes of space; only one such axis can be read, the first or the last`);
  }
  return found[0];
}

function nrrdGrid(name, fields, sizes, domain) {
  if (fields.has("space directions")) return nrrdGridInSpace(name, fields, sizes, domain);
  const columns = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  let spacing = [1, 1, 1], origin = [0, 0, 0];
  if (fields.has("spacings")) {
    // NaN stands for an axis without a spacing.
    spacing = domain(nrrdNumbers(name, "spacings", fields.get("spacings").toLowerCase().replaceAll("nan", "1")));
  }
  const mins = (fields.get("axis mins") ?? "nan").toLowerCase();
  if (!mins.includes("nan")) origin = domain(nrrdNumbers(name, "axis mins", mins));
  return { spacing, columns, origin };
}

function nrrdGridInSpace(name, fields, sizes, domain) {
  const vectors = nrrdVectors(name, fields, "space directions");
  if (vectors.length !== sizes.length) {
    throw damaged(name, `'space directions' has ${vectors.length} vectors for ${sizes.length} axes`);
  }
  const space = (fields.get("space") ?? "").toLowerCase().replace(/-time$/, "").replace(/t$/, "");
  const signs = meaningOf(NRRD_SPACES, space);
  if (!signs) {
    throw new Problem(
      `${name}: cannot be read: its space '${fields.get("space").slice(0, 60)}' is not that of a patient`,
      "Known are left-posterior-superior, right-anterior-superior and left-anterior-superior.",
    );
  }
  const toLps = (vector) => signs.map((sign, axis) => sign * vector[axis]);
  // Behind the three of space may stand a fourth number, of time.
  if (!domain(vectors).every((vector) => vector?.length >= 3)) {
    throw damaged(name, "'space directions' are not three vectors of three numbers");
  }
  const axes = axesOf(name, domain(vectors).map(toLps));
  let origin = [0, 0, 0];
  if (fields.has("space origin")) {
    const [vector, ...rest] = nrrdVectors(name, fields, "space origin");
    if (rest.length || !(vector?.length >= 3)) throw damaged(name, "'space origin' is not a vector of three numbers");
    origin = toLps(vector);
  }
  return { ...axes, origin };
}

function nrrdNumber(name, fields) {
  const type = (fields.get("type") ?? "").toLowerCase(), code = meaningOf(NRRD_NUMBERS, type);
  if (!code) throw damaged(name, `its type '${type.slice(0, 60)}' is not one of whole or real numbers`);
  const endian = (fields.get("endian") ?? "").toLowerCase();
  const needsNone = endian === "" && ["i1", "u1"].includes(code);
  if (!needsNone && !["little", "big"].includes(endian)) {
    throw damaged(name, `its endian '${endian.slice(0, 60)}' is neither little nor big`);
  }
  return { code, isBigEndian: endian === "big" };
}

/** The bytes that hold the voxels, unpacked, and where they start in them. */
async function nrrdVoxels(name, fields, stored, end, numBytes) {
  const whole = (...names) => Number(names.map((field) => fields.get(field)).find((text) => text !== undefined) ?? 0);
  const lines = whole("line skip", "lineskip"), skip = whole("byte skip", "byteskip");
  const encoding = (fields.get("encoding") ?? "").toLowerCase(), isPacked = ["gz", "gzip"].includes(encoding);
  if (!isPacked && encoding !== "raw") {
    throw new Problem(
      `${name}: cannot be read: its encoding '${encoding.slice(0, 60)}' is neither raw nor gzip`,
      "Convert it, for instance with 3D Slicer.",
    );
  }
  if (!(lines >= 0) || !(skip >= -1) || (skip === -1 && isPacked)) {
    throw damaged(name, `'line skip' is ${lines}, and 'byte skip' is ${skip}`);
  }
  if (skip === -1) return { content: stored, start: stored.bytes.length - numBytes };
  let start = end;
  for (let line = 0; line < lines; line++) start = stored.bytes.indexOf(10, start) + 1 || stored.bytes.length;
  if (!isPacked) return { content: stored, start: start + skip };
  return { content: await unpack(new Blob([stored.bytes.subarray(start)])), start: skip };
}

function nrrdRemarks(name, fields) {
  if (!fields.has("space directions")) {
    return [`${name}: does not say how its axes lie in the patient; taken as left, posterior, superior`];
  }
  return fields.has("space origin") ? [] : [`${name}: does not say its origin; taken as 0`];
}
