// In a worker: the scans of files that a person has opened. `facts` has the channels of the network.

let facts = null;

const tell = (step, share = null) => self.postMessage({ type: "progress", step, share });

/** Errors of the browser itself are told by their meaning. */
function inPlainWords(error) {
  if (error instanceof Problem) return { message: error.message, hint: error.hint, isUnderstood: true };
  const text = String(error?.message ?? error);
  if (error instanceof RangeError || /memory|allocation|std::bad_alloc|out of bounds/i.test(text)) {
    const { message, hint } = tooLarge(`needs more memory than the browser gives (${text.slice(0, 200)})`);
    return { message, hint };
  }
  return { message: `something went wrong that this page does not know: ${text.slice(0, 300)}`, hint: "Please report it." };
}

const tooLarge = (what) => new Problem(`the scan ${what}`, "Crop it, close other tabs, or use `lunet predict`, which needs less.");

/** The scans of all files, in the order of their names; null where the page has to ask first. */
async function readScans(files, wanted) {
  const chosen = await chosenFiles(files, wanted);
  return chosen && chosen.read();
}

/** Those files that hold the scan, and what reads them; null where the page has to ask first. */
async function chosenFiles(files, wanted) {
  tell("reading");
  const byName = (one, other) => (one.name < other.name ? -1 : 1);
  const sorted = [...files].sort(byName);
  const isVolume = ({ name }) => /\.(nii|nii\.gz|nrrd)$/i.test(name);
  const volumes = sorted.filter(isVolume);
  if (volumes.length) return { files: volumes, read: () => readVolumes(volumes) };
  const dicom = [];
  for (const file of sorted) if (isDicom(new Uint8Array(await file.slice(0, 132).arrayBuffer()))) dicom.push(file);
  if (!dicom.length) throw unknownFiles(sorted);
  return chosenSeries(dicom, wanted);
}

async function readVolumes(files) {
  const scans = [];
  for (const file of files) scans.push(await (/\.nrrd$/i.test(file.name) ? readNrrd : readNifti)(file));
  requireOneGrid(scans);
  return scans;
}

function unknownFiles(files) {
  const what = files.length === 1 ? `${files[0].name} is not` : `none of the ${files.length} files is`;
  return new Problem(`${what} a scan that this page reads`, "It reads NIfTI (.nii, .nii.gz), NRRD (.nrrd) and the files of a DICOM series.");
}

function requireOneGrid(scans) {
  const other = scans.find((scan) => !sameGrid(scans[0].geometry, scan.geometry));
  if (!other) return;
  const what = facts.inChannels === 1 ? "and the network takes one scan at a time" : "and all channels need one";
  throw new Problem(`${other.name}: does not lie on the grid of ${scans[0].name}, ${what}`, "Open one scan at a time, or resample them first.");
}

async function chosenSeries(files, wanted) {
  const series = await findSeries(files, (index, count) => tell("reading", index / count));
  if (!series.size) throw unknownFiles(files);
  if (series.size > 1 && !series.has(wanted)) {
    const choices = [...series].map(([uid, members]) => ({ uid, words: seriesInWords(members) }));
    self.postMessage({ type: "choose", choices });
    return null;
  }
  const [uid] = series.size > 1 ? [wanted] : series.keys(), members = series.get(uid);
  const name = members[0].word(TAG.description) || members[0].name.replace(/\.[^.]*$/, "");
  return { files: members.map(({ file }) => file), read: () => [readSeries(name, members)] };
}
