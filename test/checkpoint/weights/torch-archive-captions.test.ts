import { readdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { captioningGraph } from '../../../models/heads/captioning.ts';
import { settingFeeds } from '../../../pipeline/sessions/generation-feeds.ts';
import { createSession, type RuntimeTensor } from '../../../pipeline/sessions/runtime.ts';
import {
  type CheckpointName,
  checkpointFolder,
  type GoldenGeneration,
  openGoldenTensors,
  readGoldenGenerations,
} from '../../support/goldens.ts';
import { greedySettings } from '../../support/greedy-settings.ts';
import { newImages } from '../../support/new-images.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { torchArchivePath } from '../../support/torch-archive-file.ts';

/** The checkpoint's own files, but with the weights of that archive. */
function archiveFolder(checkpoint: CheckpointName, archive: string): string {
  const folder = temporaryFolder();
  const link = (from: string, isWanted: (file: string) => boolean) => {
    for (const file of readdirSync(from).filter(isWanted)) symlinkSync(join(from, file), join(folder, file));
  };
  link(checkpointFolder(checkpoint), (file) => !file.includes('safetensors'));
  link(dirname(torchArchivePath(`${archive}/pytorch_model.bin`)), () => true);
  return folder;
}

/** Start token, prompt and greedy caption of each row, up to the end token. */
async function greedyTokenIds(
  folder: string,
  rows: readonly GoldenGeneration[],
  goldens: ReturnType<typeof openGoldenTensors>,
): Promise<readonly (readonly number[])[]> {
  const checkpoint = openCheckpoint(folder);
  if (checkpoint.task !== 'captioning') throw new Error(`Expected a captioning checkpoint, got ${checkpoint.task}.`);
  const weights = openWeights(folder);
  const options = { executionProvider: 'cpu', threadCount: 2, dataFolder: weights.dataFolder } as const;
  const session = await createSession(captioningGraph(checkpoint, weights), options);
  const answers: (readonly number[])[] = [];
  for (const row of rows) {
    const { data, shape } = goldens.bytes(`${row.image}.resized`);
    const prompt = promptIds(row);
    const outputs = await session.run({
      ...newImages(checkpoint, { data, shape: [1, ...shape] }),
      image_index: int64s([0]),
      input_ids: int64s(prompt, [1, prompt.length]),
      padding_length: int64s([0]),
      ...greedyInputs,
    });
    answers.push(
      Array.from(outputs['token_ids']?.data ?? [], Number).slice(0, Number(outputs['sequence_end']?.data[0])),
    );
  }
  await session.release();
  return answers;
}

const greedyInputs: Readonly<Record<string, RuntimeTensor>> = {
  ...settingFeeds(greedySettings),
  max_new_tokens: int64s([20]),
  min_new_tokens: int64s([0]),
  uniforms: { data: new Float32Array(1), shape: [1, 1, 1] },
};

/** The golden's own prompt tokens: everything before what was generated. */
function promptIds({ sequences: [first] }: GoldenGeneration): readonly number[] {
  return first?.token_ids.slice(0, first.token_ids.length - first.token_logprobs.length) ?? [];
}

function int64s(values: readonly number[], shape: readonly number[] = [values.length]): RuntimeTensor {
  return { data: BigInt64Array.from(values, BigInt), shape };
}

test.each([
  ['narrow-vision', 'narrow-vision'],
  ['sharded-float16', 'sharded-float16'],
  ['untied-bfloat16', 'untied-bfloat16'],
  ['original-names', 'untied-bfloat16'],
] as const)('%s captions as the safetensors do, and as transformers does', async (archive, name) => {
  const rows = readGoldenGenerations(name).filter(({ parameters }) => Object.keys(parameters).length === 0);
  const goldens = openGoldenTensors(name);
  const captions = await greedyTokenIds(archiveFolder(name, archive), rows, goldens);
  expect(captions.length).toBeGreaterThan(3);
  expect(captions).toEqual(await greedyTokenIds(checkpointFolder(name), rows, goldens));
  expect(captions).toEqual(rows.map(({ sequences: [first] }) => first?.token_ids));
});
