import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readSafetensorsHeader, type TensorRegion } from '../../checkpoint/weights/safetensors.ts';
import { startModel } from '../../pipeline/model.ts';
import { readSettings } from '../../pipeline/settings.ts';
import type { NamedTensor } from '../../protocol/named-tensor.ts';
import { fixtures, imagePath } from '../support/goldens.ts';
import { integer, pickle, sizes, stateDict, tensor, text } from '../support/pickle-bytes.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { torchArchive } from '../support/torch-archive-file.ts';

/** Every checkpoint of the family answers from pytorch_model.bin as from safetensors. Goldens hold the latter. */

const storageClasses: Readonly<Record<string, string>> = {
  F32: 'torch.FloatStorage',
  F16: 'torch.HalfStorage',
  BF16: 'torch.BFloat16Storage',
  I64: 'torch.LongStorage',
};

function archivedTensor({ dtype, shape }: TensorRegion, key: number): Buffer {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
  const elementCount = shape.reduce((product, size) => product * size, 1);
  return tensor({
    storageClass: storageClasses[dtype] ?? '',
    key: text(String(key)),
    elementCount: integer(elementCount),
    shape: sizes(...shape),
    strides: sizes(...strides),
  });
}

/** Copies a checkpoint, with its weights as torch.save lays them out. */
function asTorchArchive(checkpoint: string): string {
  const folder = temporaryFolder();
  cpSync(checkpoint, folder, { recursive: true });
  const file = readFileSync(join(folder, 'model.safetensors'));
  const regions = readSafetensorsHeader(join(folder, 'model.safetensors'));
  const tensors = Object.fromEntries(regions.map((region, key) => [region.name, archivedTensor(region, key)]));
  const storages = Object.fromEntries(
    regions.map(({ offsetBytes, lengthBytes }, key) => [key, file.subarray(offsetBytes, offsetBytes + lengthBytes)]),
  );
  rmSync(join(folder, 'model.safetensors'));
  writeFileSync(join(folder, 'pytorch_model.bin'), torchArchive(pickle(stateDict(tensors)), storages));
  return folder;
}

async function answer(checkpoint: string, inputs: object, outputs: readonly string[]): Promise<readonly NamedTensor[]> {
  const environment = { BLIP_CHECKPOINT: checkpoint, BLIP_EXECUTION_PROVIDER: 'cpu' };
  const model = await startModel(readSettings({ environment, shippedCheckpoint: '' }));
  try {
    return (
      await model.infer({
        inputs: { img_url: [readFileSync(imagePath('chelsea')).toString('base64')], ...inputs },
        outputs,
      })
    ).outputs;
  } finally {
    await model.close();
  }
}

const question = [{ question: ['the red cat'] }, ['answer', 'token_ids', 'sequence_logprob']] as const;
const match = [{ text: ['a red cat', 'the'] }, ['match_probability', 'cosine_similarity', 'image_embeds']] as const;
const clip = [{ text: ['a red cat', 'the'] }, ['image_embeds', 'text_embeds', 'probability']] as const;

test.each([
  ['answers-float32', ...question],
  ['answers-float16', ...question],
  ['retrieval-wide-vision', ...match],
  ['retrieval-bfloat16', ...match],
  ['clip-placeholder-end', ...clip],
  ['clip-real-end', ...clip],
] as const)('%s', async (name, inputs, outputs) => {
  const checkpoint = `${fixtures}checkpoints/${name}`;
  const fromSafetensors = await answer(checkpoint, inputs, outputs);
  expect(fromSafetensors.map((each) => each.name)).toEqual(outputs);
  expect(await answer(asTorchArchive(checkpoint), inputs, outputs)).toEqual(fromSafetensors);
});
