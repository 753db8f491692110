import type { BlipCheckpoint } from '../checkpoint/checkpoint.ts';
import { generationInputNames } from '../input_schema.ts';
import { HandlerError } from '../protocol/errors.ts';
import type { InputLists } from '../protocol/schema.ts';
import { type BatcherOptions, createBatcher } from './batcher.ts';
import { type GenerationItem, generateForItems, type ItemSettings } from './generation-items.ts';
import type { GenerationBatch, GenerationResult } from './generation-model.ts';
import { type GenerationInputs, type GenerationSettings, resolveGenerationSettings } from './generation-settings.ts';
import { packGenerated } from './generation-tensors.ts';
import type { ImageSource } from './image-source.ts';
import { isFailure, isSuccess, requireSomeSuccess } from './outcome.ts';
import { presets } from './presets.ts';
import { contextUntil, type Task, type TaskContext } from './task.ts';
import { encoderTokens } from './text-tokens.ts';
import type { WorkerPool } from './worker-pool.ts';

/** Captioning and question answering: one text for each image and its prompt or question. */
export function generationTask(
  checkpoint: BlipCheckpoint,
  pool: WorkerPool<GenerationBatch, GenerationResult>,
  context: TaskContext & BatcherOptions,
): Task {
  const itemContext = { ...context, checkpoint, batcher: createBatcher(pool, context) };
  const task = checkpoint.task === 'question-answering' ? 'question-answering' : 'captioning';
  const textInput = task === 'question-answering' ? 'question' : 'text';
  return (inputs, outputs) => {
    const items = readItems(inputs, textInput);
    const given = readGenerationInputs(inputs);
    const { settings, questionStart } = presets[task][given.preset ?? 'hf'];
    const candidates = readCandidates(inputs, checkpoint, context);
    const generation =
      candidates === undefined
        ? resolveGenerationSettings(given, checkpoint.generationDefaults, settings)
        : rankingSettings(given, candidates.texts.length);
    return {
      itemCount: items.length,
      async run(signal) {
        const { outcomes, times } = await generateForItems(
          items,
          { generation, questionStart, candidates },
          contextUntil(signal, itemContext),
        );
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
  const sources = (inputs['img_url'] ?? []) as readonly ImageSource[]; // The schema let only strings through.
  const texts = (inputs[textInput] ?? ['']) as readonly string[];
  const count = Math.max(sources.length, texts.length);
  if (![1, count].includes(sources.length) || ![1, count].includes(texts.length)) {
    throw new HandlerError(
      'INVALID_INPUT',
      `Expected ${textInput} for each of ${sources.length} images, or one for all, got ${texts.length}.`,
    );
  }
  const at = <T>(values: readonly T[], index: number) => values[values.length === 1 ? 0 : index];
  return Array.from({ length: count }, (_, index) => ({
    source: at(sources, index) ?? '',
    text: at(texts, index) ?? '',
  }));
}

/** More would take gigabytes: each is read with every question, and every token of it is scored. */
const MAX_CANDIDATES = 256;

/** The answers to choose from, each between [DEC] and [SEP]. */
function readCandidates(
  inputs: InputLists,
  { config }: BlipCheckpoint,
  { tokenizer }: TaskContext,
): ItemSettings['candidates'] {
  const texts = inputs['candidates'] as readonly string[] | undefined; // The schema let only strings through.
  if (texts === undefined) return undefined;
  if (texts.length > MAX_CANDIDATES)
    throw new HandlerError('INVALID_INPUT', `Expected at most ${MAX_CANDIDATES} candidates, got ${texts.length}.`);
  const ids = texts.map((text) => [
    config.text.bosTokenId,
    ...encoderTokens(text, 'candidate', config.text, tokenizer).slice(1),
  ]);
  return { texts, ids };
}

/** Candidates are scored, not generated: of the parameters only their number counts. */
function rankingSettings(given: GenerationInputs, candidateCount: number): GenerationSettings {
  const numReturnSequences = given.num_return_sequences ?? 1;
  if (numReturnSequences > candidateCount) {
    const expected = `num_return_sequences to be at most the number of candidates ${candidateCount}`;
    throw new HandlerError('INVALID_PARAMETER', `Expected ${expected}, got ${numReturnSequences}.`);
  }
  return { ...resolveGenerationSettings({ num_beams: 1, seed: 0 }, {}), numReturnSequences };
}

function readGenerationInputs(inputs: InputLists): GenerationInputs {
  return Object.fromEntries(generationInputNames.map((name) => [name, inputs[name]?.[0]])); // The schema held each to its field.
}
