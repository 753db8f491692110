import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { schemas } from '../../input_schema.ts';
import type { InputsOf } from '../../protocol/schema.ts';
import type { Sequence } from '../sessions/row-batch.ts';
import { sequencesPerRow } from '../sessions/run-bounds.ts';
import { blipTextSize } from '../sessions/text-size.ts';
import { blipTexts } from '../texts/blip-texts.ts';
import { Batcher } from '../workers/batcher.ts';
import type { WorkerPool } from '../workers/worker-pool.ts';
import { resolveGenerationSettings } from './generation-settings.ts';
import { packAnswer } from './generation-tensors.ts';
import { generationWork } from './generation-work.ts';
import { answerItems, pairItems } from './items.ts';
import { presetFor } from './presets.ts';
import { type ReadRequest, requestContext, type TaskContext } from './task.ts';

type Inputs = InputsOf<typeof schemas.captioning.inputs>;

/** Captioning: one text for each image and its prompt. */
export function captioningTask(
  checkpoint: BlipCheckpoint,
  pool: WorkerPool<'generation'>,
  context: TaskContext,
): ReadRequest<Inputs> {
  const texts = blipTexts(checkpoint.config.text, context.tokenizer);
  const parts = {
    decode: ({ tokenIds }: Sequence) => texts.decode(tokenIds),
    batcher: new Batcher(pool.runner('generation'), context),
    text: blipTextSize(checkpoint.config.text, context.precision),
    imageTokens: imageTokenCount(checkpoint.config.vision),
    maxRunBytes: context.maxRunBytes,
  };
  return (inputs, outputs) => {
    const items = pairItems(inputs.img_url, inputs.text ?? [''], 'text');
    const preset = presetFor('captioning', inputs.preset, context);
    const settings = resolveGenerationSettings(inputs, checkpoint.generationDefaults, preset.settings, context);
    return {
      size: { items: items.length, sequences: items.length * sequencesPerRow(settings.shared) },
      async run(listening) {
        const work = generationWork((prompt) => texts.captionStart(prompt), settings, parts);
        const answered = await answerItems(items, checkpoint, work, requestContext(context, listening));
        return packAnswer(answered, outputs, texts);
      },
    };
  };
}
