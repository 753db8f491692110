// Preloaded into a server: from its second batch on, each run of a caption hangs in its worker thread, as native code could.
const { isMainThread } = require('node:worker_threads');

if (!isMainThread) {
  const { createRequire } = require('node:module');
  const { InferenceSession } = createRequire(process.env.ATTACKED_PROGRAM)('onnxruntime-node'); // The server's own.
  const create = InferenceSession.create;
  let runs = 0;
  InferenceSession.create = async (...given) => {
    const session = await create.apply(InferenceSession, given);
    const run = session.run.bind(session);
    session.run = async (feeds) => {
      if ('image_index' in feeds) runs += 1;
      if (runs > 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // For ever.
      return await run(feeds);
    };
    return session;
  };
}
