import { join } from 'node:path';
import type { Blip2Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { Blip2Config } from '../../checkpoint/config/blip2-config.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import { QFORMER_TOKENIZER_FOLDER } from '../../checkpoint/files/settings-files.ts';
import type { schemas } from '../../input_schema.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { InputsOf } from '../../protocol/schema.ts';
import type { GenerationRow, SharedSettings } from '../sessions/generation-batch.ts';
import type { Sequence } from '../sessions/row-batch.ts';
import { sequencesPerRow } from '../sessions/run-bounds.ts';
import { languageModelSize } from '../sessions/text-size.ts';
import { type Blip2Texts, blip2Texts } from '../texts/blip2-texts.ts';
import { openTokenizer } from '../texts/tokenizer.ts';
import { Batcher } from '../workers/batcher.ts';
import type { WorkerPool } from '../workers/worker-pool.ts';
import { type PresetSettings, resolveGenerationSettings } from './generation-settings.ts';
import { packAnswer } from './generation-tensors.ts';
import { generationWork } from './generation-work.ts';
import { type ChosenPreset, exchange, presetFor, questionPrompt } from './image-text-presets.ts';
import { answerItems, pairItems } from './items.ts';
import { type ReadRequest, requestContext, type TaskContext } from './task.ts';

type Inputs = InputsOf<(typeof schemas)['image-text-to-text']['inputs']>;

/** BLIP-2 and InstructBLIP: a text that continues each image and its prompt, or the answer to a question about it. */
export function imageTextToTextTask(
  checkpoint: Blip2Checkpoint,
  pool: WorkerPool<'generation'>,
  context: TaskContext,
): ReadRequest<Inputs> {
  const { config, folder, generationDefaults } = checkpoint;
  const instructionTokenizer = config.readsInstruction
    ? openTokenizer(join(folder, QFORMER_TOKENIZER_FOLDER))
    : undefined;
  const texts = blip2Texts(config, context.tokenizer, instructionTokenizer);
  const parts = {
    batcher: new Batcher<GenerationRow, SharedSettings, readonly Sequence[]>(pool.runner('generation'), context),
    text: languageModelSize(config, context.precision),
    imageTokens: imageTokenCount(config.vision),
    maxRunBytes: context.maxRunBytes,
  };
  return (inputs, outputs) => {
    const { preset: _preset, ...parameters } = inputs;
    const preset = presetFor(inputs.preset, (inputs.context ?? []).length > 0, context);
    const purpose = purposeOf(inputs, preset, config, texts);
    requireOutputs(outputs, purpose);
    const items = pairItems(inputs.img_url, purpose.texts, purpose.input);
    const settings = resolveGenerationSettings(parameters, generationDefaults, purpose.settings, context);
    return {
      size: { items: items.length, sequences: items.length * sequencesPerRow(settings.shared) },
      async run(listening) {
        const work = generationWork((prompt) => texts.start(purpose.promptOf(prompt)), settings, {
          ...parts,
          decode: purpose.decode,
        });
        const answered = await answerItems(items, checkpoint, work, requestContext(context, listening));
        return packAnswer(
          answered,
          outputs.filter((name) => name === purpose.output || !generatedTexts.includes(name)),
          texts,
        );
      },
    };
  };
}

/** The purpose of a request: a text that begins with the prompt, or an answer alone. */
interface Purpose {
  readonly input: 'text' | 'question';
  readonly texts: readonly string[];
  readonly promptOf: (text: string) => string;
  readonly decode: (sequence: Sequence) => string;
  readonly settings: PresetSettings;
  /** The one of `generatedTexts` that it has. */
  readonly output: string;
}

const generatedTexts: readonly string[] = ['generated_output', 'answer'];

/**
 * Clients that ask for all outputs of the metadata get those that the request has. One that asks for the other text alone
 * would get none.
 * @throws HandlerError `INVALID_INPUT`
 */
function requireOutputs(outputs: readonly string[], { input, output }: Purpose): void {
  const other = generatedTexts.find((name) => outputs.includes(name));
  if (outputs.includes(output) || other === undefined) return;
  const [request, advice] = input === 'text' ? ['a request without question', 'a question'] : ['a question', 'a text'];
  throw invalidInput(`the output ${output} of ${request}, got ${other}: ask for ${output}, or send ${advice}`);
}

/** @throws HandlerError `INVALID_INPUT` when inputs are there that exclude each other. */
function purposeOf(inputs: Inputs, preset: ChosenPreset, model: Blip2Config, { decode }: Blip2Texts): Purpose {
  const { text, question } = inputs;
  const earlier = readContext(inputs);
  if (question === undefined) {
    return {
      input: 'text',
      texts: text ?? [''],
      promptOf: (prompt) => prompt,
      decode: ({ tokenIds }) => decode(tokenIds),
      settings: preset.settingsFor(false, model),
      output: 'generated_output',
    };
  }
  if (text !== undefined) throw invalidInput('text or question, got both: a prompt in words of your own is a text');
  return {
    input: 'question',
    texts: question,
    promptOf: (asked) => questionPrompt(asked, preset.name, earlier, model),
    decode: ({ tokenIds, generatedCount }) => decode(tokenIds.slice(tokenIds.length - generatedCount)),
    settings: preset.settingsFor(true, model),
    output: 'answer',
  };
}

/** Earlier questions and answers as texts: of pairs of both, or one text that has them in words of its own. */
function readContext({ context = [], question, preset }: Inputs): readonly string[] {
  if (context.length === 0) return [];
  if (question === undefined) throw invalidInput('context with a question, got it without one');
  if (preset === 'hf') throw invalidInput('context without preset hf, which sends a question as it is; got both');
  if (context.length === 1) return context;
  if (context.length % 2 === 1)
    throw invalidInput(`context to be one text, or to have an answer for each question, got ${context.length} texts`);
  return Array.from({ length: context.length / 2 }, (_, pair) =>
    exchange(context[2 * pair] ?? '', context[2 * pair + 1] ?? ''),
  );
}

function invalidInput(expected: string): HandlerError {
  return new HandlerError('INVALID_INPUT', `Expected ${expected}.`);
}
