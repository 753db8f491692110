import { describe, expect, test } from 'vitest';
import { countToken, countVisionLayer } from '../../bench/gpu/count.ts';
import type { GenerationRequest, PretendRequest, PretendRun } from '../../bench/gpu/pretend-card/run.ts';
import {
  bytesOf,
  copyNodes,
  hasPretendCard,
  moreOf,
  total,
  traceRun,
  withoutKernel,
} from '../../bench/gpu/pretend-card/trace.ts';
import type { Real } from '../../onnx/element-type.ts';

/**
 * The graphs for GPUs on a card that pretends: onnxruntime's real CUDA provider loads, places and launches them, and the
 * card counts. `bash bench/gpu/pretend-card/fetch.sh` makes the card; without it these tests are skipped, but for CI, which
 * has to make it.
 */

const precisions: readonly Real[] = ['float32', 'float16', 'bfloat16'];
const isMissing = !hasPretendCard();
const TIMEOUT_MS = 120_000;

test.runIf(process.env['CI'] === 'true')('CI has made the pretend card', () => {
  expect(hasPretendCard()).toBe(true);
});

describe.skipIf(isMissing)('with the layers of BLIP-large, the pretend card counts', () => {
  /** A vocabulary of the usual size takes one launch more for the best token. */
  const LARGER_VOCABULARY = 1;

  test.each([
    ['float32', 1, 235],
    ['float16', 1, 248],
    ['bfloat16', 1, 236],
    ['float16', 32, 236],
  ] as const)(
    'at most 250 operations and 2 reads by the host for a token: %s, %d rows',
    (precision, rows, expected) => {
      const promptLengths = Array.from({ length: rows }, () => 0);
      const token = countToken({ form: 'lean', precision }, { promptLengths });
      expect(total(token)).toBe(expected);
      expect(total(token) + LARGER_VOCABULARY).toBeLessThanOrEqual(250);
      expect(total(token, 'to the host')).toBe(1);
    },
    TIMEOUT_MS,
  );

  test(
    'no more for longer prompts, and for a minimum length that the text has passed',
    () => {
      const graph = { form: 'lean', precision: 'float16' } as const;
      const token = countToken(graph, { promptLengths: [3], parameters: { min_new_tokens: 2 } });
      expect(total(token)).toBe(248);
      expect(total(token, 'to the host')).toBe(1);
    },
    TIMEOUT_MS,
  );

  test.each([
    ['float32', 235],
    ['float16', 248],
    ['bfloat16', 236],
  ] as const)(
    'no more for prompts of several lengths: %s',
    (precision, expected) => {
      const token = countToken({ form: 'lean', precision }, { promptLengths: [0, 3] });
      expect(total(token)).toBe(expected);
      expect(total(token, 'to the host')).toBe(1);
    },
    TIMEOUT_MS,
  );

  test(
    'a few more while some row may not end yet',
    () => {
      const graph = { form: 'lean', precision: 'float16' } as const;
      const token = countToken(graph, { promptLengths: [0], parameters: { min_new_tokens: 20 } });
      expect(total(token)).toBe(261);
      expect(total(token, 'to the host')).toBe(1);
    },
    TIMEOUT_MS,
  );

  test(
    'more than twice as many for a token in the plain form',
    () => {
      const token = countToken({ form: 'plain', precision: 'float32' });
      expect(total(token)).toBe(529);
      expect(total(token, 'to the host')).toBe(4);
    },
    TIMEOUT_MS,
  );

  test.each([
    ['lean', 'float32', 9],
    ['lean', 'float16', 10],
    ['lean', 'bfloat16', 10],
    ['plain', 'float32', 18],
  ] as const)(
    'a layer of the vision tower: %s, %s',
    (form, precision, expected) => {
      const layer = countVisionLayer({ form, precision });
      expect(total(layer)).toBe(expected);
      expect(total(layer, 'to the host')).toBe(0);
    },
    TIMEOUT_MS,
  );
});

describe.skipIf(isMissing)('with two layers of T5, the pretend card counts', () => {
  /** 27 for each layer, in float16 34; and the norm before them, the head, and the choice of the token. */
  test.each([
    ['float32', 76],
    ['float16', 94],
    ['bfloat16', 80],
  ] as const)(
    'operations for a token in %s, and one read by the host',
    (precision, expected) => {
      const run: PretendRun = {
        checkpoint: 'test/fixtures/checkpoints/blip2-t5',
        graph: { form: 'lean', precision },
        requests: [{ kind: 'generation', promptLengths: [0] }],
      };
      const [five, six] = [traceRun(run, { loops: 5 }), traceRun(run, { loops: 6 })];
      const token = moreOf(five.counts, six.counts);
      expect(total(token)).toBe(expected);
      expect(total(token, 'to the host')).toBe(1);
    },
    TIMEOUT_MS,
  );
});

describe.skipIf(isMissing)('weights are joined at load, not in every run', () => {
  /** Kernels that one run more launches to join tensors. */
  const joins = (checkpoint: string, precision: Real) => {
    const run = (count: number) => {
      const requests = Array.from({ length: count }, () => ({ kind: 'generation' as const, promptLengths: [0] }));
      return traceRun({ checkpoint, graph: { form: 'lean', precision }, requests }, { period: 1 }).counts;
    };
    return [...moreOf(run(1), run(2))].reduce((sum, [key, count]) => sum + (key.includes('_Concat') ? count : 0), 0);
  };

  test.each(['checkpoints/scenes-captioning', 'checkpoints/scenes-question-answering'])(
    '%s',
    (checkpoint) => {
      const [float32 = 0, ...others] = precisions.map((precision) => joins(checkpoint, precision));
      expect(float32).toBeGreaterThan(0);
      expect(others).toEqual([float32, float32]);
    },
    TIMEOUT_MS,
  );
});

const searches: Readonly<Record<string, Omit<GenerationRequest, 'kind'>>> = {
  'greedy search': { promptLengths: [0] },
  'prompts of several lengths': { promptLengths: [0, 3] },
  'a penalty on repetition': { promptLengths: [0], parameters: { repetition_penalty: 1.5 } },
  'beam search': { promptLengths: [0], parameters: { num_beams: 3 } },
  sampling: { promptLengths: [0], parameters: { do_sample: true } },
  'beam search that draws': { promptLengths: [0], parameters: { num_beams: 3, do_sample: true } },
};

/**
 * Bytes of one token that may cross the bus: shapes, conditions, lists of pointers, and what the result has more. The cache
 * of one layer alone has 2304 for each token of 3 beams, and so 13 824 for the sixth.
 */
const MOST_BYTES_PER_TOKEN = 2048;

describe.skipIf(isMissing)('no state crosses the bus, but a few numbers for each token', () => {
  test.each(Object.entries(searches))(
    '%s',
    (_, request) => {
      const run: PretendRun = {
        checkpoint: 'checkpoints/scenes-captioning',
        graph: { form: 'lean', precision: 'float16' },
        requests: [{ kind: 'generation', ...request }],
      };
      const [five, six] = [traceRun(run, { loops: 5 }), traceRun(run, { loops: 6 })];
      for (const kind of ['to the host', 'to the card'] as const)
        expect(bytesOf(six, kind) - bytesOf(five, kind)).toBeLessThanOrEqual(MOST_BYTES_PER_TOKEN);
    },
    TIMEOUT_MS,
  );
});

const generations = Object.values(searches).map((request): PretendRequest => ({ kind: 'generation', ...request }));
/** Prompts that begin with the vectors of an image. */
const behindImages = Object.values(searches).map(({ promptLengths, ...request }): PretendRequest => {
  const queryCount = 5;
  return { kind: 'generation', ...request, promptLengths: promptLengths.map((length) => queryCount + length) };
});
/** T5 begins with one token: its encoder reads prompts, of several lengths. */
const behindEncoder = Object.values(searches).map(
  (request): PretendRequest => ({ kind: 'generation', ...request, promptLengths: request.promptLengths.map(() => 0) }),
);
const runs: readonly (readonly [checkpoint: string, requests: readonly PretendRequest[]])[] = [
  ['test/fixtures/checkpoints/blip2-opt', behindImages],
  ['test/fixtures/checkpoints/blip2-opt-legacy', behindImages],
  ['test/fixtures/checkpoints/blip2-t5', behindEncoder],
  ['test/fixtures/checkpoints/blip2-t5-legacy', behindEncoder],
  ['test/fixtures/checkpoints/instructblip-t5', behindEncoder],
  ['checkpoints/scenes-captioning', generations],
  ['checkpoints/scenes-question-answering', [...generations, { kind: 'ranking', rows: 2 }]],
  ['checkpoints/scenes-retrieval', [{ kind: 'retrieval', images: 2, texts: 3 }]],
  ['checkpoints/scenes-clip', [{ kind: 'clip', images: 2, texts: 3 }]],
];

/** T5's end token is 1, as sizes in shapes are: where texts may not end yet, that constant goes from the host to the card. */
function isFreeOfCopies(checkpoint: string, graph: string): boolean {
  return graph.startsWith('greedy_search') && !(checkpoint.includes('t5') && graph === 'greedy_search/if.true');
}

describe.skipIf(isMissing)('every operator of the lean form has a kernel on the card', () => {
  test.each(runs.flatMap(([checkpoint, requests]) => precisions.map((each) => [checkpoint, each, requests] as const)))(
    '%s in %s',
    (checkpoint, precision, requests) => {
      const run = { checkpoint, graph: { form: 'lean', precision }, requests } as const;
      const trace = traceRun(run, { period: 4, logsPlacements: true });
      expect(trace.log.includes('placed on [CUDAExecutionProvider]')).toBe(true);
      expect(withoutKernel(trace)).toEqual([]);
      expect([...copyNodes(trace).keys()].filter((graph) => isFreeOfCopies(checkpoint, graph))).toEqual([]);
    },
    TIMEOUT_MS,
  );
});
