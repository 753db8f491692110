import { openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { openWeights, type Weights } from '../../checkpoint/weights/weights.ts';
import { captioningGraph } from '../../models/heads/captioning.ts';
import type { GraphForm } from '../../models/module.ts';
import type { Real } from '../../onnx/element-type.ts';
import { settingFeeds } from '../../pipeline/sessions/generation-feeds.ts';
import { createSession } from '../../pipeline/sessions/runtime.ts';
import { runtimeInt64s } from '../../pipeline/sessions/tensors.ts';
import { resolveGenerationSettings } from '../../pipeline/tasks/generation-settings.ts';

const [
  folder = 'checkpoints/scenes-captioning',
  form = 'lean',
  precision = 'float16',
  layers = '24',
  rowsText = '1',
  extra = '{}',
] = process.argv.slice(2);
const checkpoint = openCheckpoint(folder, 384) as any;
const stored = openWeights(folder);
const visionLayers = Number(layers);
const config = {
  ...checkpoint.config,
  vision: { ...checkpoint.config.vision, layerCount: visionLayers },
  text: { ...checkpoint.config.text, layerCount: 12 },
};
const names = [...stored.regions];
const regions = new Map(stored.regions);
for (const [name, region] of names) {
  const m = /^(.*layers?\.)(\d+)(\..*)$/.exec(name);
  if (!m) continue;
  for (let k = 0; k < 24; k += 1) {
    const n = name.startsWith('vision') ? checkpoint.config.vision.layerCount : checkpoint.config.text.layerCount;
    if (k % n === Number(m[2])) regions.set(`${m[1]}${k}${m[3]}`, region);
  }
}
const weights = { ...stored, regions } as Weights;
const graph = captioningGraph({ ...checkpoint, config }, weights, {
  form: form as GraphForm,
  precision: precision as Real,
});
const session = await createSession(graph, {
  executionProvider: 'cuda',
  threadCount: 1,
  dataFolder: weights.dataFolder,
  foldConstants: graph.convertedInitializers.size > 0,
});
const rows = Number(rowsText);
const settings = JSON.parse(extra);
const { max_new_tokens: most = 40, min_new_tokens: least = 0, ...shared } = settings;
const output = await session.run({
  images: { data: new Uint8Array(rows * 384 * 384 * 3), shape: [rows, 384, 384, 3] },
  image_index: runtimeInt64s(
    Array.from({ length: rows }, (_, i) => i),
    [rows],
  ),
  input_ids: runtimeInt64s(
    Array.from({ length: rows }, () => config.text.bosTokenId),
    [rows, 1],
  ),
  padding_length: runtimeInt64s(
    Array.from({ length: rows }, () => 0),
    [rows],
  ),
  max_new_tokens: runtimeInt64s(
    Array.from({ length: rows }, () => most),
    [rows],
  ),
  min_new_tokens: runtimeInt64s(
    Array.from({ length: rows }, () => least),
    [rows],
  ),
  ...settingFeeds(resolveGenerationSettings(shared, {}).shared),
  uniforms: { data: new Float32Array(rows * 40 * 20), shape: [rows, 40, 20] },
});
console.log('done', output['token_ids']?.shape);
