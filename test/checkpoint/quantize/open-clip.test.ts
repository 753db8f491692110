import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { mergeCheckpoint } from '../../../checkpoint/merge/merge-checkpoint.ts';
import { copyIn16Bits } from '../../../checkpoint/quantize/copy-in-16-bits.ts';
import { quantizeCheckpoint } from '../../../checkpoint/quantize/quantize-checkpoint.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { startModel } from '../../../pipeline/model.ts';
import { valuesOf } from '../../support/answers.ts';
import { expectClose } from '../../support/close-to.ts';
import { fixtures, openClipNames } from '../../support/goldens.ts';
import { openClipFolder } from '../../support/open-clip.ts';
import { dataUri, testSettings } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** Copies of open_clip's files. */

async function embeddingsOf(checkpoint: string): Promise<readonly number[]> {
  const model = await startModel(testSettings({ checkpoint }));
  const inputs = { img_url: [dataUri('chelsea'), dataUri('rocket')], text: ['a cat', 'two dogs'], normalize: true };
  try {
    const answer = await model.infer({ inputs, outputs: ['image_embeds', 'text_embeds'] });
    return [...valuesOf(answer, 'image_embeds'), ...valuesOf(answer, 'text_embeds')].map(Number);
  } finally {
    await model.close();
  }
}

describe.each(openClipNames)('%s', (name) => {
  const source = openClipFolder(name);

  test('int8', async () => {
    const target = join(temporaryFolder(), 'int8');
    const { matrixCount } = await quantizeCheckpoint(source, target);
    // Six matrices in each layer, three of which lay in one.
    const { vision, text } = openCheckpoint(source).config as { vision: LayerCount; text: LayerCount }; // Of CLIP.
    expect(matrixCount).toBe(6 * (vision.layerCount + text.layerCount));
    expect(readdirSync(target).sort()).toEqual([
      'open_clip_config.json',
      'open_clip_model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(openCheckpoint(target).quantizedTo).toBe('int8');
    expectClose(await embeddingsOf(target), await embeddingsOf(source), { absolute: 0.05 });
  });

  test('16 bits, by open_clip’s own names', async () => {
    const target = join(temporaryFolder(), 'float16');
    await copyIn16Bits(source, target, { precision: 'float16' });
    expect(readFileSync(join(target, 'open_clip_config.json'))).toEqual(
      readFileSync(join(source, 'open_clip_config.json')),
    );
    const { regions } = openWeights(target);
    expect([...regions.keys()].sort()).toEqual([...openWeights(source).regions.keys()].sort());
    expect(regions.get('visual_projection.transposed_weight')).toMatchObject({ name: 'visual.proj', dtype: 'F16' });
    expectClose(await embeddingsOf(target), await embeddingsOf(source), { absolute: 2e-3 });
  });
});

interface LayerCount {
  readonly layerCount: number;
}

test('an adapter of PEFT is not merged into them', async () => {
  const adapter = `${fixtures}adapters/clip`;
  const merged = mergeCheckpoint(adapter, openClipFolder('odd-sizes'), join(temporaryFolder(), 'merged'));
  await expect(merged).rejects.toMatchObject({
    code: 'CHECKPOINT_CONFIG_INVALID',
    message: expect.stringContaining("open_clip's files"),
  });
});
