// In a worker of its own: the network. It computes windows for the worker at the other end of `port`.
// ONNX Runtime stands before this, as `ort`.

self.onmessage = async ({ data }) => {
  let session = null, problem = null;
  const { port } = data;
  const ready = (async () => {
    ort.env.wasm.numThreads = 1; // shared memory, which threads need, is not given to files
    ort.env.wasm.wasmBinary = data.binary;
    session = await ort.InferenceSession.create(data.network, { executionProviders: ["wasm"] });
  })().catch((error) => { problem = error; });
  port.onmessage = async ({ data: { input, shape } }) => {
    await ready;
    try {
      if (problem) throw problem;
      const { logits } = await session.run({ image: new ort.Tensor("float32", input, shape) });
      const values = Float32Array.from(await logits.getData());
      logits.dispose();
      port.postMessage({ logits: values }, [values.buffer]);
    } catch (error) {
      port.postMessage({ error: String(error?.message ?? error) });
    }
  };
  await ready;
  self.postMessage(problem ? { error: String(problem?.message ?? problem) } : { ready: true });
};
