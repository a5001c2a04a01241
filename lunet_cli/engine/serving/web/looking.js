// In a worker: the image of a scan, to be shown, and its mask, which the service has made.

const ANSWERS = { look, readMask };

self.onmessage = async ({ data }) => {
  facts = data.model;
  const { answer, buffers } = await ANSWERS[data.type](data);
  self.postMessage({ type: "answer", answer }, buffers);
};

/** What the page can show of a scan, and which files the service needs. */
async function look({ files, series }) {
  let needed = files;
  try {
    const chosen = await chosenFiles(files, series);
    if (chosen === null) return { answer: null, buffers: [] }; // the page asks which series
    needed = chosen.files;
    const [{ name, geometry, channels: [image] }] = await chosen.read();
    return { answer: { files: needed, name, geometry, image }, buffers: [image.buffer] };
  } catch (error) {
    // The service reads more than this page, and says what is wrong with a scan.
    return { answer: { files: needed, name: needed[0].name, problem: inPlainWords(error) }, buffers: [] };
  }
}

async function readMask({ file }) {
  try {
    const { geometry, channels: [labelMap] } = await readNifti(file);
    return { answer: { geometry, labelMap }, buffers: [labelMap.buffer] };
  } catch (error) {
    return { answer: { problem: inPlainWords(error) }, buffers: [] };
  }
}
