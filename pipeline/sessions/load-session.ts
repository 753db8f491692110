import {
  type Blip2Checkpoint,
  type BlipCheckpoint,
  type Checkpoint,
  isBlip2Retrieval,
} from '../../checkpoint/checkpoint.ts';
import type { Task } from '../../checkpoint/config/architectures.ts';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { hasQuantizedWeights } from '../../checkpoint/weights/int8-format.ts';
import { openWeights, type Weights } from '../../checkpoint/weights/weights.ts';
import { blip2Graphs, blipGraphs, clipGraphs } from '../../models/families.ts';
import { loadClipSession } from './clip-session.ts';
import { type GenerationModel, loadGenerationSession } from './generation-session.ts';
import { ImageCache } from './image-cache.ts';
import { createImageResizer, type ImageResizer } from './image-resizer.ts';
import type { LoadedSession, LoadOptions, SessionOptions } from './loaded-session.ts';
import { prepareRankingSession } from './ranking-session.ts';
import { loadRetrievalSession } from './retrieval-session.ts';
import { blipTextSize, languageModelSize } from './text-size.ts';
import type { CheckpointOf, KindsOf } from './work.ts';

/** The worker thread's half of the task registry: for each task, how its checkpoint is loaded (tasks/registry.ts). */

type Load<Name extends Task> = (
  resizer: ImageResizer,
  checkpoint: CheckpointOf<Name>,
  weights: Weights,
  options: SessionOptions,
) => Promise<LoadedSession<KindsOf<Name>>>;

const loaders: { readonly [Name in Task]: Load<Name> } = {
  captioning: (...loading) =>
    loadGenerationSession(blipGraphs.captioning.generation, blipModel(loading[1], loading[3]), ...loading),
  'question-answering': loadAnswerSession,
  'image-text-to-text': (...loading) =>
    loadGenerationSession(blip2Graphs['image-text-to-text'].generation, blip2Model(loading[1], loading[3]), ...loading),
  retrieval: (resizer, checkpoint, ...loading) =>
    isBlip2Retrieval(checkpoint)
      ? loadRetrievalSession(blip2Graphs.retrieval.retrieval, resizer, checkpoint, ...loading)
      : loadRetrievalSession(blipGraphs.retrieval.retrieval, resizer, checkpoint, ...loading),
  clip: (...loading) => loadClipSession(clipGraphs.clip, ...loading),
};

function blipModel({ config: { text } }: BlipCheckpoint, { precision }: SessionOptions): GenerationModel {
  return { size: blipTextSize(text, precision), endTokenIds: [text.sepTokenId] };
}

function blip2Model({ config }: Blip2Checkpoint, { precision }: SessionOptions): GenerationModel {
  return { size: languageModelSize(config, precision), endTokenIds: config.language.endTokenIds };
}

/** Answers are generated, or candidates are ranked: two graphs on the same weights and the same images. */
async function loadAnswerSession(...loading: Parameters<Load<'question-answering'>>) {
  const { generation: graph } = blipGraphs['question-answering'];
  const generation = await loadGenerationSession(graph, blipModel(loading[1], loading[3]), ...loading);
  const ranking = prepareRankingSession(blipGraphs['question-answering'].ranking, ...loading);
  return {
    runs: { ...generation.runs, ...ranking.runs },
    async pack() {
      await generation.pack();
      await ranking.pack();
    },
    async release() {
      await generation.release();
      await ranking.release();
    },
  };
}

/**
 * Loads a checkpoint of any task.
 * @throws CheckpointError when it cannot be served.
 */
export async function loadSession(checkpoint: Checkpoint, options: LoadOptions): Promise<LoadedSession<KindsOf<Task>>> {
  const weights = openWeights(checkpoint.folder);
  requireAgreement(checkpoint, weights);
  const { imageProcessor, config } = checkpoint;
  const resizer = await createImageResizer(imageProcessor, config.vision.imageSize, options.threadCount);
  const { imageCacheBytes = 0 } = options;
  const imageCache = imageCacheBytes === 0 ? undefined : new ImageCache(imageCacheBytes);
  try {
    const session = await load(checkpoint.task, resizer, checkpoint, weights, { ...options, imageCache });
    return {
      ...session,
      // Packed weights compute with another rounding, so known images would be answered otherwise than new ones.
      pack: () => session.pack().then(() => imageCache?.clear()),
      release: () => session.release().finally(() => resizer.release()),
    };
  } catch (error) {
    await resizer.release();
    throw error;
  }
}

function load<Name extends Task>(task: Name, ...loading: Parameters<Load<Name>>): ReturnType<Load<Name>> {
  return loaders[task](...loading);
}

/** The weights must be what config.json says, because that decides the execution provider before they are opened. */
function requireAgreement({ folder, quantizedTo }: Checkpoint, weights: Weights): void {
  const isQuantized = quantizedTo !== undefined;
  if (isQuantized === hasQuantizedWeights(weights)) return;
  const [expected, actual] = isQuantized ? ['int8', 'floats'] : ['floats', 'int8'];
  throw new CheckpointError(
    'CHECKPOINT_CONFIG_INVALID',
    `${folder}: expected weights of ${expected}, as config.json says, got ${actual}.`,
  );
}
