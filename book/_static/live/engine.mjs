// The exported model in onnxruntime-web, on one thread; answers are remembered.

const REMEMBERED = 64;

/**
 * Load the runtime and the model, all parts at a time.
 * @param {URL} assets Folder with `runtime/` and `model.onnx`.
 * @returns {Promise<(pixels: Float32Array, ids: number[]) => Promise<object>>} What
 *   `method.findMaps` asks.
 */
export async function loadModel(assets) {
  const runtime = new URL("runtime/", assets);
  const [ort, program, model] = await Promise.all([
    import(new URL("ort.wasm.min.mjs", runtime).href),
    fetchBytes(new URL("ort-wasm-simd-threaded.wasm", runtime)),
    fetchBytes(new URL("model.onnx", assets)),
  ]);
  ort.env.wasm.wasmPaths = runtime.href;
  ort.env.wasm.wasmBinary = program;
  ort.env.wasm.numThreads = 1; // more would need headers that a static host does not send
  const session = await ort.InferenceSession.create(new Uint8Array(model));
  const known = new Map();
  return async (pixels, ids) => {
    const key = `${hash(pixels)} ${ids}`;
    if (!known.has(key)) {
      const side = Math.sqrt(pixels.length / 3);
      const out = await session.run({
        pixels: new ort.Tensor("float32", pixels, [1, 3, side, side]),
        ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]),
      });
      if (known.size >= REMEMBERED) known.delete(known.keys().next().value);
      known.set(key, Object.fromEntries(Object.entries(out).map(([k, { data }]) => [k, data])));
    }
    return known.get(key);
  };
}

async function fetchBytes(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url.pathname} is missing from this copy of the book.`);
  return answer.arrayBuffer();
}

/** A short name of many numbers (FNV-1a over their bits, twice as wide). */
function hash(values) {
  let [a, b] = [0x811c9dc5, 0x1234567];
  for (const bits of new Uint32Array(values.buffer, values.byteOffset, values.length)) {
    a = Math.imul(a ^ bits, 0x01000193);
    b = Math.imul(b ^ (bits >>> 7) ^ a, 0x85ebca6b);
  }
  return `${a >>> 0}.${b >>> 0}`;
}
