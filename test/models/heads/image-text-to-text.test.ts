import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { mersenne } from 'pure-rand/generator/mersenne';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Blip2Config } from '../../../checkpoint/config/blip2-config.ts';
import type { OptConfig } from '../../../checkpoint/config/opt-config.ts';
import { noTokenRules } from '../../../checkpoint/config/token-rules.ts';
import { imageTextToTextGraph } from '../../../models/heads/image-text-to-text.ts';
import type { GraphForm } from '../../../models/module.ts';
import { settingFeeds } from '../../../pipeline/sessions/generation-feeds.ts';
import { createSession, type RuntimeTensor } from '../../../pipeline/sessions/runtime.ts';
import { resolveGenerationSettings } from '../../../pipeline/tasks/generation-settings.ts';
import { blip2Shapes } from '../../support/blip2-shapes.ts';
import { expectClose } from '../../support/close-to.ts';
import { forms } from '../../support/forms.ts';
import { float32s, int64s } from '../../support/generation-session.ts';
import { greedyByHand, SMALL_OPT as language } from '../../support/opt-by-hand.ts';
import { randomTensors, weightsOf } from '../../support/random-tensors.ts';

/**
 * Images before OPT: which vectors each row reads, and at which positions, against OPT's arithmetic by hand over the same
 * vectors.
 */

/** The vocabulary lacks it. */
const IMAGE_TOKEN = 999;

const config: Blip2Config & { readonly language: OptConfig } = {
  vision: {
    hiddenSize: 9,
    intermediateSize: 16,
    layerCount: 1,
    headCount: 3,
    imageSize: 28,
    positionsImageSize: 28,
    patchSize: 14,
    layerNormEpsilon: 1e-6,
    activation: 'gelu',
  },
  qFormer: {
    vocabularySize: 5,
    hiddenSize: 8,
    encoderHiddenSize: 9,
    intermediateSize: 12,
    layerCount: 2,
    headCount: 2,
    maxPositions: 4,
    layerNormEpsilon: 1e-12,
    activation: 'gelu',
    crossAttentionFrequency: 2,
  },
  queryCount: 3,
  language,
  readsInstruction: false,
  imageTokenId: IMAGE_TOKEN,
  warnings: [],
};

const NEW_TOKENS = 7;
const imageProcessor = { resize: undefined, rescaleFactor: 1 / 255, normalize: undefined };
const tensors = randomTensors(blip2Shapes(config), 7);

interface Row {
  readonly image: number;
  readonly prompt: readonly number[];
}

/** Several lengths, in no order; two rows about one image, and an image that nobody asks about. */
const rows: readonly Row[] = [
  { image: 2, prompt: [2, 5, 30, 7] },
  { image: 0, prompt: [2] },
  { image: 2, prompt: [2, 11] },
  { image: 3, prompt: [2, 5, 30, 7] },
];

function randomImages(count: number): RuntimeTensor {
  const generator = mersenne(3);
  const { imageSize } = config.vision;
  const data = Uint8Array.from({ length: count * imageSize ** 2 * 3 }, () => uniformInt(generator, 0, 255));
  return { data, shape: [count, imageSize, imageSize, 3] };
}

const images = randomImages(4);
const none = { data: new Uint8Array(), shape: [0, ...images.shape.slice(1)] };
const vectorShape = [config.queryCount, language.hiddenSize];
const noVectors = float32s([], [0, ...vectorShape]);

interface Inputs {
  readonly images?: RuntimeTensor;
  readonly known?: RuntimeTensor;
  readonly order?: readonly number[];
  readonly beams?: number;
}

async function openHead(form: GraphForm) {
  const weights = await weightsOf(tensors);
  const graph = imageTextToTextGraph({ config, imageProcessor, tokenRules: noTokenRules }, weights, { form });
  const session = await createSession(graph, {
    executionProvider: 'cpu',
    threadCount: 1,
    dataFolder: weights.dataFolder,
  });
  onTestFinished(() => session.release());
  return async (
    asked: readonly Row[],
    { images: given = images, known = noVectors, order = [0, 1, 2, 3], beams = 1 }: Inputs = {},
  ) => {
    const image = Array.from({ length: config.queryCount }, () => IMAGE_TOKEN);
    const prompts = asked.map(({ prompt }) => [...image, ...prompt]);
    const longest = Math.max(...prompts.map((prompt) => prompt.length));
    const padding = prompts.map((prompt) => longest - prompt.length);
    const padded = prompts.flatMap((prompt, row) => [
      ...Array.from({ length: padding[row] ?? 0 }, () => IMAGE_TOKEN),
      ...prompt,
    ]);
    const outputs = await session.run({
      images: given,
      ...(form === 'lean' ? {} : { known_vision_states: known, image_order: int64s(order) }),
      image_index: int64s(asked.map(({ image }) => image)),
      input_ids: int64s(padded, [asked.length, longest]),
      padding_length: int64s(padding),
      max_new_tokens: int64s(asked.map(() => NEW_TOKENS)),
      min_new_tokens: int64s(asked.map(() => 0)),
      ...settingFeeds(resolveGenerationSettings({ num_beams: beams }, {}).shared),
      uniforms: float32s([0], [1, 1, 1]),
    });
    const texts = asked.map((row, index) => textOf(outputs, index, longest - row.prompt.length, longest));
    return { texts, vectors: outputs['new_vision_states'] };
  };
}

/** A row's best text, from its prompt on, and the log-probabilities of its new tokens. */
function textOf(outputs: Readonly<Record<string, RuntimeTensor>>, row: number, from: number, promptEnd: number) {
  const [, sequences = 0, length = 0] = outputs['token_ids']?.shape ?? [];
  const first = row * sequences;
  const end = first * length + Number(outputs['sequence_end']?.data[first]);
  const numbers = (name: string, start: number) =>
    Array.from(outputs[name]?.data.slice(first * length + start, end) ?? [], Number);
  return { tokenIds: numbers('token_ids', from), logprobs: numbers('token_logprobs', promptEnd) };
}

type Text = ReturnType<typeof textOf>;

function expectTexts(got: readonly Text[], wanted: readonly Text[]): void {
  expect(got.map(({ tokenIds }) => tokenIds)).toEqual(wanted.map(({ tokenIds }) => tokenIds));
  const logprobs = (texts: readonly Text[]) => texts.flatMap((text) => text.logprobs);
  expectClose(logprobs(got), logprobs(wanted), { absolute: 2e-5 });
}

/** The vectors of image `index`. */
function vectorsOf(all: RuntimeTensor | undefined, index: number): readonly (readonly number[])[] {
  const { queryCount } = config;
  const width = language.hiddenSize;
  const at = (query: number) => (index * queryCount + query) * width;
  return Array.from({ length: queryCount }, (_, query) =>
    Array.from(all?.data.slice(at(query), at(query) + width) ?? [], Number),
  );
}

describe.each(forms)('in the %s form', (form) => {
  test('each row reads the vectors of its image, and then its prompt', async () => {
    const { vectors } = await (await openHead('plain'))(rows);
    const { texts } = await (await openHead(form))(rows);
    const byHand = rows.map(({ image, prompt }) =>
      greedyByHand(tensors, language, prompt, NEW_TOKENS, vectorsOf(vectors, image)),
    );
    expectTexts(texts, byHand);
    const continuations = byHand.map(({ tokenIds }, row) => String(tokenIds.slice(rows[row]?.prompt.length)));
    expect(new Set(continuations).size).toBe(rows.length);
  });

  test.each([1, 3])('a row answers as it would alone, with %d beams', async (beams) => {
    const answer = await openHead(form);
    const { texts } = await answer(rows, { beams });
    const alone = await Promise.all(rows.map((row) => answer([row], { beams })));
    expectTexts(
      texts,
      alone.flatMap((each) => each.texts),
    );
  });
});

test('vectors that are known stand for images, in any order', async () => {
  const answer = await openHead('plain');
  const { texts, vectors } = await answer(rows);
  const known = vectors ?? noVectors;
  expect(known.shape).toEqual([4, ...vectorShape]);
  const allKnown = await answer(rows, { images: none, known });
  expectTexts(allKnown.texts, texts);
  expect(allKnown.vectors?.shape).toEqual([0, ...vectorShape]);
  const turned = rows.map(({ image, prompt }) => ({ image: 3 - image, prompt }));
  expectTexts((await answer(turned, { images: none, known, order: [3, 2, 1, 0] })).texts, texts);
});
