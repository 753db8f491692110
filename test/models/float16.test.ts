import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { quantizeCheckpoint } from '../../checkpoint/quantize/quantize-checkpoint.ts';
import { openWeights } from '../../checkpoint/weights/weights.ts';
import { graphsOfTask } from '../../models/families.ts';
import { clipImageGraph, clipTextGraph } from '../../models/heads/clip.ts';
import type { GraphForm } from '../../models/module.ts';
import type { Graph } from '../../onnx/graph.ts';
import { createSession, type RuntimeTensor } from '../../pipeline/sessions/runtime.ts';
import { float32Data } from '../../pipeline/sessions/tensors.ts';
import { expectClose, type Tolerance } from '../support/close-to.ts';
import { openContinuationSession } from '../support/continuation-session.ts';
import { inEachForm } from '../support/forms.ts';
import {
  byParameters,
  type GenerationSession,
  type GoldenRow,
  int64s,
  openAnswerSession,
  openCaptioningSession,
  paddedTexts,
  resizedImages,
} from '../support/generation-session.ts';
import {
  allRetrievalCheckpointNames,
  answerCheckpointNames,
  checkpointFolder,
  checkpointNames,
  clipCheckpointNames,
  type GoldenClip,
  type GoldenPairs,
  imageTextCheckpointNames,
  openClipCheckpoint,
  openGoldenTensors,
  readContinuations,
  readGoldenGenerations,
  readGoldenJson,
} from '../support/goldens.ts';
import { newImages } from '../support/new-images.ts';
import { openRetrievalCheckpoint, retrievalGraphOf } from '../support/retrieval-graph.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { expectCheckpointError } from '../support/thrown.ts';

/**
 * Every graph in float16, on the CPU: onnxruntime computes in float32 where it has no kernel for float16, and rounds
 * what goes from node to node. Compared with what transformers computed in float32.
 */

const inFloat16 = (form: GraphForm) => ({ precision: 'float16', form }) as const;
/** How close texts are. Of two tokens that are equally likely, rounding may choose the other one. */
interface Closeness {
  readonly logprobs: Tolerance;
  readonly leastEqualShare: number;
}

/** Rounding to 11 bits in each of some layers: the worst is 0.045, half of them are below 0.003. */
const close: Closeness = { logprobs: { absolute: 0.06 }, leastEqualShare: 0.92 };
/** Behind images, random weights make language models steep: the worst is 0.16, half of them are below 0.008. */
const closeBehindImages: Closeness = { logprobs: { absolute: 0.25 }, leastEqualShare: 0.8 };
const EMBEDS_TOLERANCE = { absolute: 1e-2, relative: 1e-2 };
const SCORE_TOLERANCE = { absolute: 5e-3 };

type Open = readonly [string, GraphForm, () => Promise<GenerationSession<never>>, readonly GoldenRow[], Closeness];

const sessions: readonly Open[] = [
  ...inEachForm(checkpointNames).map(
    ([name, form]): Open => [
      name,
      form,
      () => openCaptioningSession(name, inFloat16(form)),
      readGoldenGenerations(name),
      close,
    ],
  ),
  ...inEachForm(answerCheckpointNames).map(
    ([name, form]): Open => [
      name,
      form,
      () => openAnswerSession(name, inFloat16(form)),
      readGoldenJson<readonly GoldenRow[]>(`${name}.json`),
      close,
    ],
  ),
  ...inEachForm(imageTextCheckpointNames).map(
    ([name, form]): Open => [
      name,
      form,
      () => openContinuationSession(name, inFloat16(form)),
      readContinuations(name),
      closeBehindImages,
    ],
  ),
];

describe.each(sessions)(
  '%s in float16 and the %s form generates what transformers generates in float32',
  (_, _form, open, rows, closeness) => {
    let session: GenerationSession<never>;
    beforeAll(async () => {
      session = await open();
    });
    afterAll(() => session?.release());

    test('but for tokens that are nearly as likely as each other', async () => {
      const equal: boolean[] = [];
      for (const [, group] of byParameters(rows)) {
        const answers = await session.generate(group as readonly never[]); // Rows of the session's own goldens.
        for (const [index, row] of group.entries()) {
          for (const [rank, golden] of row.sequences.entries())
            equal.push(equalUntilTheyPart(answers[index]?.[rank], golden, hasCutOff(row), closeness.logprobs));
        }
      }
      expect(equal.length).toBeGreaterThan(50);
      expect(equal.filter(Boolean).length / equal.length).toBeGreaterThanOrEqual(closeness.leastEqualShare);
    });
  },
);

interface Generated {
  readonly tokenIds: readonly number[];
  readonly tokenLogprobs: readonly number[];
}

/** Rounding may put a token on the other side of a cut-off, which changes the probabilities of all that are left. */
function hasCutOff({ parameters }: GoldenRow): boolean {
  return 'top_p' in parameters || 'min_p' in parameters;
}

/**
 * Whether all tokens are equal. The log-probabilities of those before the first that is not must be close; where there is
 * a cut-off, a token whose log-probability is not close counts as one that is not equal.
 */
function equalUntilTheyPart(
  got: Generated | undefined,
  golden: GoldenRow['sequences'][number],
  mayCutElsewhere: boolean,
  tolerance: Tolerance,
): boolean {
  const prompt = golden.token_ids.length - golden.token_logprobs.length;
  const isFar = (position: number) => {
    const [actual = 0, expected = 0] = [
      got?.tokenLogprobs[position - prompt],
      golden.token_logprobs[position - prompt],
    ];
    return mayCutElsewhere && position >= prompt && Math.abs(actual - expected) > tolerance.absolute;
  };
  const parting = golden.token_ids.findIndex((token, position) => token !== got?.tokenIds[position] || isFar(position));
  const count = parting < 0 ? golden.token_logprobs.length : parting - prompt;
  expect(count).toBeGreaterThanOrEqual(0);
  expectClose((got?.tokenLogprobs ?? []).slice(0, count), golden.token_logprobs.slice(0, count), tolerance);
  return parting < 0 && got?.tokenIds.length === golden.token_ids.length;
}

async function runOnce(
  graph: Graph,
  { folder }: Checkpoint,
  inputs: Readonly<Record<string, RuntimeTensor>>,
): Promise<(name: string) => Float32Array> {
  const { dataFolder } = openWeights(folder);
  const session = await createSession(graph, { executionProvider: 'cpu', threadCount: 2, dataFolder });
  const outputs = await session.run(inputs);
  await session.release();
  return (name) => float32Data(outputs, name);
}

test.each(inEachForm(allRetrievalCheckpointNames))(
  '%s in float16 and the %s form compares as transformers does in float32',
  async (name, form) => {
    const checkpoint = openRetrievalCheckpoint(checkpointFolder(name));
    const goldens = openGoldenTensors(name);
    const { images, texts } = readGoldenJson<GoldenPairs>(`${name}.json`);
    const { ids, lengths } = paddedTexts(texts.map(({ input_ids: tokens }) => tokens));
    const output = await runOnce(
      retrievalGraphOf(checkpoint, openWeights(checkpoint.folder), inFloat16(form)),
      checkpoint,
      {
        ...newImages(checkpoint, resizedImages(images, goldens), form),
        input_ids: ids,
        text_length: lengths,
        compared_images: int64s([images.length], []),
      },
    );
    for (const tensor of ['match_probability', 'cosine_similarity'])
      expectClose(output(tensor), goldens.floats(tensor).data, SCORE_TOLERANCE);
  },
);

test.each(inEachForm(clipCheckpointNames))(
  '%s in float16 and the %s form encodes as transformers does in float32',
  async (name, form) => {
    const checkpoint = openClipCheckpoint(checkpointFolder(name));
    const weights = openWeights(checkpoint.folder);
    const goldens = openGoldenTensors(name);
    const { images, texts } = readGoldenJson<GoldenClip>(`${name}.json`);
    const imageOutput = await runOnce(clipImageGraph(checkpoint, weights, inFloat16(form)), checkpoint, {
      images: resizedImages(images, goldens, 'cropped'),
    });
    const { ids } = paddedTexts(texts.map(({ input_ids: tokens }) => tokens));
    const ends = texts.map(({ input_ids: tokens }) => tokens.indexOf(Math.max(...tokens)));
    const textOutput = await runOnce(clipTextGraph(checkpoint, weights, inFloat16(form)), checkpoint, {
      input_ids: ids,
      end_position: int64s(ends),
    });
    for (const [kind, output] of [
      ['image', imageOutput],
      ['text', textOutput],
    ] as const) {
      for (const tensor of [`${kind}_embeds`, `normalized_${kind}_embeds`])
        expectClose(output(tensor), goldens.floats(tensor).data, EMBEDS_TOLERANCE);
    }
  },
);

const everyName = [
  ...checkpointNames,
  ...answerCheckpointNames,
  ...allRetrievalCheckpointNames,
  ...clipCheckpointNames,
];

test.each(inEachForm(everyName))(
  '%s in float16 and the %s form has no weight of another type left, and no output of float16',
  (name, form) => {
    const checkpoint = openCheckpoint(checkpointFolder(name));
    const graphs = graphsOfTask(checkpoint, openWeights(checkpoint.folder), inFloat16(form));
    for (const graph of graphs.filter((each) => each.name !== 'clip-rank')) {
      const casts = new Set(graph.nodes.filter(({ operator }) => operator === 'Cast').map(({ inputs }) => inputs[0]));
      const wide = [...graph.initializers.values()].filter(
        ({ elementType, data }) => elementType !== 'float16' && !(data instanceof Uint8Array),
      );
      expect(wide.filter((tensor) => !casts.has(tensor.name))).toEqual([]);
      expect(graph.outputs.map(({ elementType }) => elementType)).not.toContain('float16');
    }
  },
);

test('int8 weights run in float32 alone', async () => {
  const folder = join(temporaryFolder(), 'int8');
  await quantizeCheckpoint(checkpointFolder('narrow-vision'), folder);
  const checkpoint = openCheckpoint(folder);
  expectCheckpointError(
    () => graphsOfTask(checkpoint, openWeights(folder), inFloat16('plain')),
    'CHECKPOINT_WEIGHTS_INVALID',
    [folder, 'expected weights that are not int8 for a model in float16; int8 needs float32.'],
  );
});
