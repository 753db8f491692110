import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import Handler, { settingsFromEnvironment } from '../../dist/app.js';

/** This package, as it is built, as a side: `node bench/sides/handler-side.mjs TASK CHECKPOINT`, after `npm run build`. */

const [task, checkpoint] = process.argv.slice(2);
const outputOf = {
  captioning: 'token_ids',
  'image-text-to-text': 'token_ids',
  'question-answering': 'token_ids',
  retrieval: 'match_probability',
};
const precisionOf = (path) =>
  'quantization_config' in JSON.parse(readFileSync(`${path}/config.json`, 'utf8')) ? 'int8' : 'float32';

function inputsOf({ images, texts, newTokens }) {
  const img_url = images.map((path) => `data:;base64,${readFileSync(path).toString('base64')}`);
  const forced = { max_new_tokens: newTokens, min_new_tokens: newTokens };
  if (task === 'captioning' || task === 'image-text-to-text')
    return { img_url, ...(texts.length > 0 ? { text: texts } : {}), ...forced };
  if (task === 'question-answering') return { img_url, question: texts, ...forced };
  return images.length === 0 ? { text: texts } : task === 'clip' ? { img_url } : { img_url, text: texts };
}

function rowsOf({ data, shape }) {
  const values = Array.from(data, Number);
  const width = values.length / shape[0];
  return Array.from({ length: shape[0] }, (_, row) => values.slice(row * width, (row + 1) * width));
}

async function answer(request) {
  const startMs = performance.now();
  const output = outputOf[task] ?? (request.images.length === 0 ? 'text_embeds' : 'image_embeds');
  const { outputs, times } = await handler.inferTensors({ inputs: inputsOf(request), outputs: [output] });
  return { ms: performance.now() - startMs, computeMs: times.computeMs, rows: rowsOf(outputs[0]) };
}

const handler = new Handler({ ...settingsFromEnvironment(), checkpoint });
await handler.initialize();
const { loadMs, modelLoadMs } = handler.model;
console.log(JSON.stringify({ precision: precisionOf(checkpoint), loadMs, modelLoadMs }));
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}
await handler.finalize();
