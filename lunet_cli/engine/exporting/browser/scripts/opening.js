// Files that were dropped on the page, also those in folders.

/** All files of what was dropped, also those in folders. */
async function droppedFiles(transfer) {
  // All of it at once: what was dropped is gone after the first wait.
  const dropped = [...transfer.items].filter(({ kind }) => kind === "file").map((item) => {
    const entry = item.webkitGetAsEntry?.();
    // Chromium gives a page from disk no file of an entry, but the file of an item.
    return entry?.isDirectory ? filesBelow(item.getAsFileSystemHandle?.(), entry) : [item.getAsFile()];
  });
  return (await Promise.all(dropped)).flat();
}

/** Files in a folder and those below it, by its handle, or where there are none, by its entry. */
async function filesBelow(promised, entry) {
  const handle = await promised;
  if (handle) return filesOfHandle(handle);
  const found = [], waiting = [entry];
  while (waiting.length) {
    const next = waiting.shift();
    if (next.isFile) found.push(await new Promise((resolve, reject) => next.file(resolve, reject)));
    else waiting.push(...(await entriesOf(next.createReader())));
  }
  return found;
}

async function filesOfHandle(handle) {
  if (handle.kind === "file") return [await handle.getFile()];
  const found = [];
  for await (const inside of handle.values()) found.push(...(await filesOfHandle(inside)));
  return found;
}

async function entriesOf(reader) {
  const found = [];
  for (;;) {
    // It gives a hundred at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    found.push(...some);
  }
}
