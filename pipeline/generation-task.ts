import type { BlipCheckpoint } from '../checkpoint/checkpoint.ts';
import { generationInputNames } from '../input_schema.ts';
import { HandlerError } from '../protocol/errors.ts';
import type { InputLists } from '../protocol/schema.ts';
import { type BatcherOptions, createBatcher } from './batcher.ts';
import { type GenerationItem, generateForItems } from './generation-items.ts';
import type { GenerationBatch, GenerationResult } from './generation-model.ts';
import { type GenerationInputs, resolveGenerationSettings } from './generation-settings.ts';
import { packGenerated } from './generation-tensors.ts';
import { isFailure, isSuccess, requireSomeSuccess } from './outcome.ts';
import type { Task, TaskContext } from './task.ts';
import type { WorkerPool } from './worker-pool.ts';

/** Captioning and question answering: one text for each image and its prompt or question. */
export function generationTask(
  checkpoint: BlipCheckpoint,
  pool: WorkerPool<GenerationBatch, GenerationResult>,
  context: TaskContext & BatcherOptions,
): Task {
  const itemContext = { ...context, checkpoint, batcher: createBatcher(pool, context) };
  const textInput = checkpoint.task === 'question-answering' ? 'question' : 'text';
  return (inputs, outputs) => {
    const items = readItems(inputs, textInput);
    const settings = resolveGenerationSettings(readGenerationInputs(inputs), checkpoint.generationDefaults);
    return {
      itemCount: items.length,
      async run() {
        const { outcomes, times } = await generateForItems(items, settings, itemContext);
        requireSomeSuccess(outcomes);
        const generated = outcomes.filter(isSuccess);
        return {
          outputs: packGenerated(outcomes, outputs, {
            textsPerItem: generated[0]?.texts.length ?? 1,
            padTokenId: checkpoint.config.text.padTokenId,
          }),
          failures: outcomes.filter(isFailure).map(({ error }) => error),
          times,
          generatedTokens: generated
            .flatMap(({ sequences }) => sequences)
            .reduce((sum, { generatedCount }) => sum + generatedCount, 0),
        };
      },
    };
  };
}

/** One item for each image and its text; one of either serves for all of the other. */
function readItems(inputs: InputLists, textInput: string): readonly GenerationItem[] {
  const sources = (inputs['img_url'] ?? []) as readonly string[]; // The schema let only strings through.
  const texts = (inputs[textInput] ?? ['']) as readonly string[];
  const count = Math.max(sources.length, texts.length);
  if (![1, count].includes(sources.length) || ![1, count].includes(texts.length)) {
    throw new HandlerError(
      'INVALID_INPUT',
      `Expected ${textInput} for each of ${sources.length} images, or one for all, got ${texts.length}.`,
    );
  }
  const at = (values: readonly string[], index: number) => values[values.length === 1 ? 0 : index] ?? '';
  return Array.from({ length: count }, (_, index) => ({ source: at(sources, index), text: at(texts, index) }));
}

function readGenerationInputs(inputs: InputLists): GenerationInputs {
  return Object.fromEntries(generationInputNames.map((name) => [name, inputs[name]?.[0]])); // The schema held each to its field.
}
