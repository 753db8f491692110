import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import { generationInputNames } from '../../input_schema.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { InputLists } from '../../protocol/schema.ts';
import type { ImageSource } from '../images/image-source.ts';
import type { GenerationBatch, GenerationResult } from '../sessions/generation-session.ts';
import {
  type GenerationInputs,
  type GenerationSettings,
  resolveGenerationSettings,
} from '../sessions/generation-settings.ts';
import { encoderTokens, readInTurns } from '../texts/text-tokens.ts';
import { type BatcherOptions, createBatcher } from '../workers/batcher.ts';
import type { WorkerPool } from '../workers/worker-pool.ts';
import { type GenerationItem, generateForItems, type ItemSettings } from './generation-items.ts';
import { packGenerated } from './generation-tensors.ts';
import { failuresOf, isSuccess, requireSomeSuccess } from './outcome.ts';
import { presets } from './presets.ts';
import { contextUntil, type RequestContext, type Task, type TaskContext } from './task.ts';

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
    const asked = readAsked(inputs, textInput);
    const given = readGenerationInputs(inputs);
    const { settings, questionStart } = presets[task][given.preset ?? 'hf'];
    const candidateTexts = readCandidates(inputs);
    const generation =
      candidateTexts === undefined
        ? resolveGenerationSettings(given, checkpoint.generationDefaults, settings)
        : rankingSettings(given, candidateTexts.length);
    return {
      itemCount: asked.count,
      async run(signal, progress) {
        const candidates = await candidateTokens(candidateTexts, checkpoint, contextUntil(signal, context));
        const { outcomes, times } = await generateForItems(
          itemsOf(asked),
          { generation, questionStart, candidates },
          contextUntil(signal, itemContext, progress),
        );
        requireSomeSuccess(outcomes);
        const generated = outcomes.filter(isSuccess);
        return {
          outputs: packGenerated(outcomes, outputs, {
            textsPerItem: generated[0]?.texts.length ?? 1,
            padTokenId: checkpoint.config.text.padTokenId,
          }),
          failures: failuresOf(outcomes),
          times,
          generatedTokens: generated
            .flatMap(({ sequences }) => sequences)
            .reduce((sum, { generatedCount }) => sum + generatedCount, 0),
        };
      },
    };
  };
}

interface Asked {
  readonly sources: readonly ImageSource[];
  readonly texts: readonly string[];
  /** How many items these make. */
  readonly count: number;
}

/** @throws HandlerError `INVALID_INPUT` when there are neither as many texts as images, nor one of either for all. */
function readAsked(inputs: InputLists, textInput: string): Asked {
  const sources = (inputs['img_url'] ?? []) as readonly ImageSource[]; // The schema let only these types through.
  const texts = (inputs[textInput] ?? ['']) as readonly string[];
  const count = Math.max(sources.length, texts.length);
  if (![1, count].includes(sources.length) || ![1, count].includes(texts.length)) {
    throw new HandlerError(
      'INVALID_INPUT',
      `Expected ${textInput} for each of ${sources.length} images, or one for all, got ${texts.length}.`,
    );
  }
  return { sources, texts, count };
}

/** One item for each image and its text; one of either serves for all of the other. */
function itemsOf({ sources, texts, count }: Asked): readonly GenerationItem[] {
  const at = <T>(values: readonly T[], index: number) => values[values.length === 1 ? 0 : index];
  return Array.from({ length: count }, (_, index) => ({
    source: at(sources, index) ?? '',
    text: at(texts, index) ?? '',
  }));
}

/** More would take gigabytes: each is read with every question, and every token of it is scored. */
const MAX_CANDIDATES = 256;

/** @throws HandlerError `INVALID_INPUT` when there are too many. */
function readCandidates(inputs: InputLists): readonly string[] | undefined {
  const texts = inputs['candidates'] as readonly string[] | undefined; // The schema let only strings through.
  if (texts !== undefined && texts.length > MAX_CANDIDATES)
    throw new HandlerError('INVALID_INPUT', `Expected at most ${MAX_CANDIDATES} candidates, got ${texts.length}.`);
  return texts;
}

/** The answers to choose from, each between [DEC] and [SEP]. */
async function candidateTokens(
  texts: readonly string[] | undefined,
  { config }: BlipCheckpoint,
  { tokenizer, signal }: RequestContext,
): Promise<ItemSettings['candidates']> {
  if (texts === undefined) return undefined;
  const idsOf = (text: string) => [
    config.text.bosTokenId,
    ...encoderTokens(text, 'candidate', config.text, tokenizer).slice(1),
  ];
  return { texts, ids: await readInTurns(texts, idsOf, signal) };
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
