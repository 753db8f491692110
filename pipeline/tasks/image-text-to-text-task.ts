import { join } from 'node:path';
import type { Blip2Checkpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { schemas } from '../../input_schema.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { InputsOf } from '../../protocol/schema.ts';
import type { GenerationRow, SharedSettings } from '../sessions/generation-batch.ts';
import type { Sequence } from '../sessions/row-batch.ts';
import { sequencesPerRow } from '../sessions/run-bounds.ts';
import { languageModelSize } from '../sessions/text-size.ts';
import { type Blip2Texts, blip2Texts, instructionFolderOf } from '../texts/blip2-texts.ts';
import { openTokenizer } from '../texts/tokenizer.ts';
import { Batcher } from '../workers/batcher.ts';
import type { WorkerPool } from '../workers/worker-pool.ts';
import { resolveGenerationSettings } from './generation-settings.ts';
import { packAnswer } from './generation-tensors.ts';
import { generationWork } from './generation-work.ts';
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
  const instructionFolder = instructionFolderOf(config);
  const instructionTokenizer = instructionFolder && openTokenizer(join(folder, instructionFolder));
  const texts = blip2Texts(config, context.tokenizer, instructionTokenizer || undefined);
  const parts = {
    batcher: new Batcher<GenerationRow, SharedSettings, readonly Sequence[]>(pool.runner('generation'), context),
    text: languageModelSize(config),
    imageTokens: imageTokenCount(config.vision),
    maxRunBytes: context.maxRunBytes,
  };
  return (inputs, outputs) => {
    const purpose = purposeOf(inputs, config.readsInstruction, texts);
    const items = pairItems(inputs.img_url, purpose.prompts, purpose.input);
    const settings = resolveGenerationSettings(inputs, generationDefaults, {}, context);
    return {
      size: { items: items.length, sequences: items.length * sequencesPerRow(settings.shared) },
      async run(listening) {
        const work = generationWork((prompt) => texts.start(purpose.template(prompt)), settings, {
          ...parts,
          decode: purpose.decode,
        });
        const answered = await answerItems(items, checkpoint, work, requestContext(context, listening));
        return packAnswer(
          answered,
          outputs.filter((name) => name !== purpose.otherOutput),
          texts,
        );
      },
    };
  };
}

/** What a request wants: a text that begins with the prompt, or what comes after a question. */
interface Purpose {
  readonly input: 'text' | 'question';
  readonly prompts: readonly string[];
  readonly template: (prompt: string) => string;
  readonly decode: (sequence: Sequence) => string;
  /** The output that it does not have. */
  readonly otherOutput: 'answer' | 'generated_output';
}

function purposeOf({ text, question, preset }: Inputs, readsInstruction: boolean, texts: Blip2Texts): Purpose {
  if (question === undefined) {
    const decode = ({ tokenIds }: Sequence) => texts.decode(tokenIds);
    return { input: 'text', prompts: text ?? [''], template: (prompt) => prompt, decode, otherOutput: 'answer' };
  }
  if (text !== undefined)
    throw new HandlerError('INVALID_INPUT', 'Expected text or question, got both. A prompt of your own is a text.');
  const asSent = readsInstruction || preset === 'hf';
  return {
    input: 'question',
    prompts: question,
    template: (prompt) => (asSent ? prompt : `Question: ${prompt} Answer:`),
    decode: ({ tokenIds, generatedCount }) => texts.decode(tokenIds.slice(tokenIds.length - generatedCount)),
    otherOutput: 'generated_output',
  };
}
