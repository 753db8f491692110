import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { schemas } from '../../input_schema.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { InputsOf } from '../../protocol/schema.ts';
import { encoderTokens } from '../texts/text-tokens.ts';
import type { Tokenizer } from '../texts/tokenizer.ts';
import { Batcher } from '../workers/batcher.ts';
import type { WorkerPool } from '../workers/worker-pool.ts';
import { type GenerationInputs, type GenerationSettings, resolveGenerationSettings } from './generation-settings.ts';
import { packAnswer } from './generation-tensors.ts';
import { type GenerationParts, generationWork } from './generation-work.ts';
import { answerItems, type Item, type ItemAnswers, pairItems } from './items.ts';
import { type Preset, presets } from './presets.ts';
import { type CandidateAnswers, type RankingParts, rankingWork, readCandidates } from './ranking-work.ts';
import { type ReadRequest, type RequestContext, requestContext, type TaskContext } from './task.ts';

type Inputs = InputsOf<(typeof schemas)['question-answering']['inputs']>;

/** Question answering: an answer for each image and its question, generated or chosen from candidates. */
export function questionAnsweringTask(
  checkpoint: BlipCheckpoint,
  pool: WorkerPool<'generation' | 'ranking'>,
  context: TaskContext,
): ReadRequest<Inputs> {
  const { text } = checkpoint.config;
  const { tokenizer } = context;
  const generation = { tokenizer, batcher: new Batcher(pool.runner('generation'), context) };
  const ranking = { tokenizer, batcher: new Batcher(pool.runner('ranking'), context) };
  const resolve = (inputs: GenerationInputs, ofPreset: Preset['settings']) =>
    resolveGenerationSettings(inputs, checkpoint.generationDefaults, ofPreset);
  return (inputs, outputs) => {
    const items = pairItems(inputs.img_url, inputs.question, 'question');
    const { settings: ofPreset, questionStart } = presets['question-answering'][inputs.preset ?? 'hf'];
    const readQuestion = (question: string) => questionTokens(question, questionStart, text, tokenizer);
    const candidates = readCandidates(inputs.candidates, inputs.num_return_sequences);
    const answer =
      candidates === undefined
        ? answerByGeneration(items, readQuestion, resolve(inputs, ofPreset), checkpoint, generation)
        : answerByRanking(items, readQuestion, candidates, checkpoint, ranking);
    return {
      itemCount: items.length,
      run: async (listening) => packAnswer(await answer(requestContext(context, listening)), outputs, text),
    };
  };
}

type ReadQuestion = (question: string) => readonly number[];
type Answer = (context: RequestContext) => Promise<ItemAnswers>;

/** An answer begins with [DEC] alone; the encoder reads the question (`BlipForQuestionAnswering.generate`). */
function answerByGeneration(
  items: readonly Item[],
  readQuestion: ReadQuestion,
  settings: GenerationSettings,
  checkpoint: BlipCheckpoint,
  generation: GenerationParts,
): Answer {
  const inputIds = [checkpoint.config.text.bosTokenId];
  const readStart = (question: string) => ({ inputIds, questionIds: readQuestion(question) });
  return (context) =>
    answerItems(items, checkpoint, generationWork(readStart, settings, checkpoint, generation), context);
}

/** Every candidate is scored as the answer to every question. */
function answerByRanking(
  items: readonly Item[],
  readQuestion: ReadQuestion,
  candidates: CandidateAnswers,
  checkpoint: BlipCheckpoint,
  ranking: RankingParts,
): Answer {
  return async (context) => {
    const work = await rankingWork(readQuestion, candidates, checkpoint.config.text, ranking, context.signal);
    return await answerItems(items, checkpoint, work, context);
  };
}

/** [CLS], the question and [SEP]; or [ENC] in place of [CLS]. */
function questionTokens(
  question: string,
  questionStart: Preset['questionStart'],
  config: TextConfig,
  tokenizer: Tokenizer,
): readonly number[] {
  const [start = config.bosTokenId, ...rest] = encoderTokens(question, 'question', config, tokenizer);
  return [questionStart === '[ENC]' ? encTokenId(config) : start, ...rest];
}

/** [ENC] was added to the vocabulary right after [DEC] (salesforce/BLIP, `init_tokenizer`). */
function encTokenId({ bosTokenId, vocabularySize }: TextConfig): number {
  if (bosTokenId + 1 < vocabularySize) return bosTokenId + 1;
  throw new HandlerError('INVALID_PARAMETER', 'Expected a checkpoint with the token [ENC] for this preset, got none.');
}
