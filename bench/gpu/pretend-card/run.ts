import { type BlipCheckpoint, type Checkpoint, openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { openWeights, type Weights } from '../../../checkpoint/weights/weights.ts';
import { blipGraphs } from '../../../models/families.ts';
import type { GraphOptions } from '../../../models/module.ts';
import type { RgbImage } from '../../../pipeline/images/rgb-image.ts';
import { loadGenerationSession } from '../../../pipeline/sessions/generation-session.ts';
import { createImageResizer } from '../../../pipeline/sessions/image-resizer.ts';
import { loadSession } from '../../../pipeline/sessions/load-session.ts';
import type { LoadedSession, LoadOptions } from '../../../pipeline/sessions/loaded-session.ts';
import { blipTextSize } from '../../../pipeline/sessions/text-size.ts';
import type { GenerationSettings } from '../../../pipeline/tasks/generation-settings.ts';
import { resolveGenerationSettings } from '../../../pipeline/tasks/generation-settings.ts';

/**
 * Loads a checkpoint on the pretend card and computes requests. trace.ts starts this file as a process, because the card
 * reads its settings when a process starts.
 */

/** What one process does, as JSON in its first argument. */
export interface PretendRun {
  readonly checkpoint: string;
  readonly graph: GraphOptions;
  readonly imageSize?: number;
  /** Captioning: repeats the checkpoint's layers until there are so many. */
  readonly layers?: { readonly vision: number; readonly text: number };
  readonly requests: readonly PretendRequest[];
}

export type PretendRequest =
  | GenerationRequest
  | { readonly kind: 'ranking'; readonly rows: number }
  | { readonly kind: 'retrieval' | 'clip'; readonly images: number; readonly texts: number };

export interface GenerationRequest {
  readonly kind: 'generation';
  /** Tokens of each row's prompt, beyond its first. Each row has an image of its own. */
  readonly promptLengths: readonly number[];
  readonly parameters?: Parameters<typeof resolveGenerationSettings>[0];
}

const MAX_NEW_TOKENS = 40;
/** An ordinary token of every checkpoint here. */
const TOKEN = 7;

/** Captioning with as many layers as a larger model: layer `i` reads the weights of layer `i` modulo those that are there. */
async function loadRepeated(
  checkpoint: BlipCheckpoint,
  layers: { readonly vision: number; readonly text: number },
  options: LoadOptions,
): Promise<LoadedSession<'generation'>> {
  const { vision, text } = checkpoint.config;
  const config = {
    ...checkpoint.config,
    vision: { ...vision, layerCount: layers.vision },
    text: { ...text, layerCount: layers.text },
  };
  const stored = openWeights(checkpoint.folder);
  const weights = repeatLayers(stored, { vision_model: vision.layerCount, text_decoder: text.layerCount });
  const resizer = await createImageResizer(checkpoint.imageProcessor, vision.imageSize, options.threadCount);
  return await loadGenerationSession(
    blipGraphs.captioning.generation,
    { size: blipTextSize(config.text), endTokenIds: [text.sepTokenId] },
    resizer,
    { ...checkpoint, config },
    weights,
    options,
  );
}

const MOST_LAYERS = 64;

function repeatLayers(weights: Weights, counts: Readonly<Record<string, number>>): Weights {
  const regions = new Map(weights.regions);
  for (const [name, region] of weights.regions) {
    const [, start = '', index = '', end = ''] = /^(.*\.layers?\.)(\d+)(\..*)$/.exec(name) ?? [];
    const count = counts[name.split('.', 1)[0] ?? ''];
    if (count === undefined || start === '') continue;
    for (let layer = Number(index); layer < MOST_LAYERS; layer += count) regions.set(`${start}${layer}${end}`, region);
  }
  return { ...weights, regions };
}

function imagesOf(checkpoint: Checkpoint, count: number): readonly RgbImage[] {
  const { imageSize: side } = checkpoint.config.vision;
  return Array.from({ length: count }, () => ({ width: side, height: side, data: new Uint8Array(side * side * 3) }));
}

function tokens(length: number, first = TOKEN): readonly number[] {
  return [first, ...Array.from({ length }, () => TOKEN)];
}

/** The tokens that encoders read: of a question, of T5's prompt, and of the same prompt for InstructBLIP's Q-Former. */
function encoderTokens(checkpoint: Checkpoint, length: number) {
  if (checkpoint.task === 'question-answering') return { questionIds: tokens(length) };
  if (checkpoint.task !== 'image-text-to-text') return {};
  const { language, readsInstruction } = checkpoint.config;
  return {
    ...(language.kind === 't5' ? { questionIds: tokens(length) } : {}),
    ...(readsInstruction ? { instructionIds: tokens(length) } : {}),
  };
}

function rowSettings(settings: GenerationSettings) {
  return { maxNewTokens: MAX_NEW_TOKENS, minNewTokens: settings.minNewTokens.tokens, seed: 1 };
}

async function compute(session: LoadedSession<never>, checkpoint: Checkpoint, request: PretendRequest): Promise<void> {
  const { runs } = session as LoadedSession<'generation' | 'ranking' | 'retrieval' | 'clip'>; // of the checkpoint's task
  switch (request.kind) {
    case 'generation': {
      const settings = resolveGenerationSettings(request.parameters ?? {}, {});
      const rows = request.promptLengths.map((length, image) => ({
        image,
        inputIds: tokens(length),
        ...encoderTokens(checkpoint, 2 + image),
        ...rowSettings(settings),
      }));
      await runs.generation({ images: imagesOf(checkpoint, rows.length), rows, settings: settings.shared });
      return;
    }
    case 'ranking': {
      const rows = Array.from({ length: request.rows }, (_, image) => ({ image, questionIds: tokens(2 + image) }));
      const settings = { candidateIds: [tokens(1), tokens(2)], returnedCount: 2 };
      await runs.ranking({ images: imagesOf(checkpoint, rows.length), rows, settings });
      return;
    }
    case 'retrieval': {
      const texts = Array.from({ length: request.texts }, (_, text) => tokens(2 + text));
      const images = imagesOf(checkpoint, request.images);
      await runs.retrieval({ images, texts, comparedImages: 1, imagesPerRun: images.length });
      return;
    }
    case 'clip': {
      const texts = Array.from({ length: request.texts }, (_, text) => ({
        inputIds: tokens(2 + text),
        endPosition: 1,
      }));
      const images = imagesOf(checkpoint, request.images);
      const ranking = {
        queries: images.map((_, index) => index),
        candidates: texts.map((_, index) => images.length + index),
      };
      await runs.clip({ images, texts, itemsPerRun: 8, ranking });
    }
  }
}

const run: PretendRun = JSON.parse(process.argv[2] ?? '');
const checkpoint = openCheckpoint(run.checkpoint, run.imageSize);
const options: LoadOptions = { ...run.graph, executionProvider: 'cuda', threadCount: 1 };
const session =
  run.layers === undefined
    ? await loadSession(checkpoint, options)
    : await loadRepeated(checkpoint as BlipCheckpoint, run.layers, options);
for (const request of run.requests) await compute(session as LoadedSession<never>, checkpoint, request);
