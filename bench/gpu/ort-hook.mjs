// Makes the sessions of a process and its workers log where nodes are placed:
//
//     NODE_OPTIONS=--import=…/ort-hook.mjs node …
//
// With ORT_PROFILE_PREFIX they also write a profile of their first run.
import ort from 'onnxruntime-node';

const create = ort.InferenceSession.create.bind(ort.InferenceSession);
const prefix = process.env.ORT_PROFILE_PREFIX;
ort.InferenceSession.create = async (model, options, ...rest) => {
  const isLarge = model.byteLength > 5000; // The graphs of the resize and of the probe are smaller.
  const session = await create(
    model,
    {
      ...options,
      logSeverityLevel: isLarge ? 0 : 4,
      ...(prefix && isLarge ? { enableProfiling: true, profileFilePrefix: prefix } : {}),
    },
    ...rest,
  );
  if (prefix && isLarge) {
    const run = session.run.bind(session);
    session.run = async (...inputs) => {
      const outputs = await run(...inputs);
      session.endProfiling();
      return outputs;
    };
  }
  return session;
};
ort.env.logLevel = 'verbose';
Object.defineProperty(ort.env, 'logLevel', { get: () => 'verbose', set() {} });
