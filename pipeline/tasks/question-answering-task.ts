import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { schemas } from '../../input_schema.ts';
import type { InputsOf } from '../../protocol/schema.ts';
import type { GenerationRow, SharedSettings } from '../sessions/generation-batch.ts';
import type { Sequence } from '../sessions/row-batch.ts';
import { sequencesPerRow } from '../sessions/run-bounds.ts';
import { blipTextSize } from '../sessions/text-size.ts';
import { blipTexts } from '../texts/blip-texts.ts';
import type { AnswerStart } from '../texts/generation-texts.ts';
import { Batcher } from '../workers/batcher.ts';
import type { WorkerPool } from '../workers/worker-pool.ts';
import { type GenerationInputs, type GenerationSettings, resolveGenerationSettings } from './generation-settings.ts';
import { packAnswer } from './generation-tensors.ts';
import { type GenerationParts, generationWork } from './generation-work.ts';
import { answerItems, type Item, type ItemAnswers, pairItems } from './items.ts';
import { type Preset, presetFor } from './presets.ts';
import { type CandidateAnswers, type RankingParts, rankingWork, readCandidates } from './ranking-work.ts';
import { type ReadRequest, type RequestContext, requestContext, type TaskContext } from './task.ts';

type Inputs = InputsOf<(typeof schemas)['question-answering']['inputs']>;

/** Question answering: an answer for each image and its question, generated or chosen from candidates. */
export function questionAnsweringTask(
  checkpoint: BlipCheckpoint,
  pool: WorkerPool<'generation' | 'ranking'>,
  context: TaskContext,
): ReadRequest<Inputs> {
  const texts = blipTexts(checkpoint.config.text, context.tokenizer);
  const imageTokens = imageTokenCount(checkpoint.config.vision);
  const generation = {
    decode: ({ tokenIds }: Sequence) => texts.decode(tokenIds),
    batcher: new Batcher<GenerationRow, SharedSettings, readonly Sequence[]>(pool.runner('generation'), context),
    text: blipTextSize(checkpoint.config.text, context.precision),
    imageTokens,
    maxRunBytes: context.maxRunBytes,
  };
  const ranking = { texts, imageTokens, batcher: new Batcher(pool.runner('ranking'), context) };
  const resolve = (inputs: GenerationInputs, ofPreset: Preset['settings']) =>
    resolveGenerationSettings(inputs, checkpoint.generationDefaults, ofPreset, context);
  return (inputs, outputs) => {
    const items = pairItems(inputs.img_url, inputs.question, 'question');
    const { settings: ofPreset, questionStart } = presetFor('question-answering', inputs.preset, context);
    const readStart = (question: string) => texts.answerStart(question, questionStart);
    const candidates = readCandidates(inputs.candidates, inputs.num_return_sequences);
    const { sequencesPerItem, answer } =
      candidates === undefined
        ? answerByGeneration(items, readStart, resolve(inputs, ofPreset), checkpoint, generation)
        : answerByRanking(items, readStart, candidates, checkpoint, ranking);
    return {
      size: { items: items.length, sequences: items.length * sequencesPerItem },
      run: async (listening) => packAnswer(await answer(requestContext(context, listening)), outputs, texts),
    };
  };
}

type ReadStart = (question: string) => AnswerStart;

interface Answering {
  /** Texts that are generated, or candidates that are ranked, for each item. */
  readonly sequencesPerItem: number;
  readonly answer: (context: RequestContext) => Promise<ItemAnswers>;
}

function answerByGeneration(
  items: readonly Item[],
  readStart: ReadStart,
  settings: GenerationSettings,
  checkpoint: BlipCheckpoint,
  generation: GenerationParts,
): Answering {
  return {
    sequencesPerItem: sequencesPerRow(settings.shared),
    answer: (context) => answerItems(items, checkpoint, generationWork(readStart, settings, generation), context),
  };
}

/** Every candidate is scored as the answer to every question. */
function answerByRanking(
  items: readonly Item[],
  readStart: ReadStart,
  candidates: CandidateAnswers,
  checkpoint: BlipCheckpoint,
  ranking: RankingParts,
): Answering {
  const readQuestion = (question: string) => readStart(question).questionIds;
  return {
    sequencesPerItem: candidates.texts.length,
    async answer(context) {
      const work = await rankingWork(readQuestion, candidates, ranking, context.signal);
      return await answerItems(items, checkpoint, work, context);
    },
  };
}
