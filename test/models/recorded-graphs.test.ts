import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { quantizeCheckpoint } from '../../checkpoint/quantize/quantize-checkpoint.ts';
import { recordGraphs } from '../support/graphs.ts';

/**
 * The SHA-256 of every graph shows whether a change of the code that writes them changed a graph. One that is meant to
 * change is recorded anew by `npx vitest run test/models/recorded-graphs.test.ts -u`.
 */

const root = fileURLToPath(new URL('../..', import.meta.url));
const quantizedFolder = mkdtempSync(join(tmpdir(), 'blip-handler-test-'));
afterAll(() => rmSync(quantizedFolder, { recursive: true, force: true }));

function foldersIn(parent: string, pattern = /./): readonly (readonly [name: string, folder: string])[] {
  const entries = readdirSync(join(root, parent), { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory() && pattern.test(entry.name)).map(({ name }) => name);
  return names.sort().map((name) => [name, join(root, parent, name)]);
}

const checkpoints = [...foldersIn('test/fixtures/checkpoints'), ...foldersIn('checkpoints', /^scenes-/)];

test('every graph has its recorded hash', async () => {
  const lines: string[] = [];
  for (const [name, folder] of checkpoints) {
    const { vision } = openCheckpoint(folder).config;
    const quantized = join(quantizedFolder, name);
    await quantizeCheckpoint(folder, quantized);
    lines.push(
      ...recordGraphs(`${name}, as stored`, folder),
      ...recordGraphs(`${name}, float16 weights`, folder, { dtype: 'F16' }),
      ...recordGraphs(`${name}, int8 weights`, quantized),
      ...recordGraphs(`${name}, in float16`, folder, { precision: 'float16' }),
      ...recordGraphs(`${name}, lean`, folder, { form: 'lean' }),
      ...recordGraphs(`${name}, lean, in bfloat16`, folder, { form: 'lean', precision: 'bfloat16' }),
      ...recordGraphs(`${name}, larger images`, folder, { imageSize: vision.imageSize + vision.patchSize }),
    );
  }
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('../fixtures/graphs.txt');
});
