// The bytes of files, unpacked, and the numbers in them.

const NUMBERS = {
  i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array,
  i8: BigInt64Array, u8: BigUint64Array, f4: Float32Array, f8: Float64Array,
};

/** All bytes of a stream; `isWhole` says whether it ended as it should. */
async function collect(stream) {
  const pieces = [], reader = stream.getReader();
  let isWhole = true;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
    }
  } catch {
    isWhole = false; // Damaged, or with something behind its end: what came so far may be enough.
  }
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return { bytes, isWhole };
}

const unpack = (blob, packing = "gzip") => collect(blob.stream().pipeThrough(new DecompressionStream(packing)));

/** The bytes of a file, unpacked if it is a gzip file, whatever its name says. */
async function readBytes(file) {
  const head = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  if (head[0] === 0x1f && head[1] === 0x8b) return { ...(await unpack(file)), isPacked: true };
  return { bytes: new Uint8Array(await file.arrayBuffer()), isWhole: true, isPacked: false };
}

/** `count` numbers from byte `start` on, in the byte order of this machine. */
function numbersAt(name, { bytes, isWhole }, start, count, code, isBigEndian) {
  const kind = NUMBERS[code], width = kind.BYTES_PER_ELEMENT, length = count * width;
  if (start + length > bytes.length) {
    const why = isWhole ? "it ends before its last voxel" : "it is damaged or incomplete (gzip)";
    throw damaged(name, why);
  }
  const copy = bytes.slice(start, start + length);
  if (isBigEndian && width > 1) {
    for (let at = 0; at < length; at += width) copy.subarray(at, at + width).reverse();
  }
  return new kind(copy.buffer);
}

/** Integers of up to 16 bits as they are, all else as float32; refuses what is not finite. */
function narrow(name, values) {
  if (!(values instanceof Float32Array) && values.BYTES_PER_ELEMENT <= 2) return values;
  const isWhole = !(values instanceof Float32Array || values instanceof Float64Array);
  const found = values instanceof Float32Array ? values : Float32Array.from(values, Number);
  if (isWhole) return found;
  let bad = 0;
  for (let index = 0; index < found.length; index++) if (!Number.isFinite(found[index])) bad++;
  if (bad) {
    throw new Problem(
      `${name}: ${bad} of ${found.length} voxels are NaN or infinite`,
      "Replace them first, for instance with the background intensity.",
    );
  }
  return found;
}

/** Stored values times a slope plus an intercept. */
function rescaled(values, slope, intercept) {
  if (slope === 1 && intercept === 0) return values;
  const found = values instanceof Float64Array ? new Float64Array(values.length) : new Float32Array(values.length);
  for (let index = 0; index < found.length; index++) found[index] = Number(values[index]) * slope + intercept;
  return found;
}

/** Cut values into channels that lie one after the other, or are mixed voxel by voxel. */
function channelsOf(values, count, areMixed) {
  if (count === 1) return [values];
  const voxels = values.length / count;
  return Array.from({ length: count }, (_, channel) => {
    if (!areMixed) return values.subarray(channel * voxels, (channel + 1) * voxels);
    const part = new values.constructor(voxels);
    for (let index = 0; index < voxels; index++) part[index] = values[index * count + channel];
    return part;
  });
}
