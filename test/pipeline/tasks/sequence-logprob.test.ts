import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import Handler from '../../../app.ts';
import type { NamedTensor } from '../../../protocol/named-tensor.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { dataUri, testSettings } from '../../support/server.ts';

/** How likely a text is as a whole, against the log-probabilities of its tokens. */

/** Sums of float32 that were rounded once each. */
const SUM_TOLERANCE = { absolute: 1e-5, relative: 1e-6 };

const names = ['token_ids', 'token_logprobs', 'sequence_logprob', 'mean_token_logprob', 'sequence_score'] as const;
type Answer = Readonly<Record<(typeof names)[number], NamedTensor>>;

interface Sequence {
  /** Of the generated tokens alone, the end token included. */
  readonly tokenLogprobs: readonly number[];
  readonly logprob: number;
  readonly mean: number;
  readonly score: number;
}

/** @param promptLengths how many tokens each item begins with, [DEC] included. */
function sequencesOf(answer: Answer, promptLengths: readonly number[]): readonly Sequence[] {
  const { token_ids: ids, token_logprobs: logprobs } = answer;
  const length = ids.shape.at(-1) ?? 0;
  const numbers = (name: (typeof names)[number]) => answer[name].data.map(Number);
  const perItem = numbers('sequence_logprob').length / promptLengths.length;
  return numbers('sequence_logprob').map((logprob, index) => {
    const row = (tensor: NamedTensor) => tensor.data.slice(index * length, (index + 1) * length).map(Number);
    const end = row(ids).findLastIndex((id) => id !== 0) + 1; // Padding is 0.
    const start = promptLengths[Math.floor(index / perItem)] ?? 0;
    return {
      tokenLogprobs: row(logprobs).slice(start, end),
      logprob,
      mean: numbers('mean_token_logprob')[index] ?? Number.NaN,
      score: numbers('sequence_score')[index] ?? Number.NaN,
    };
  });
}

function expectSums(sequences: readonly Sequence[]): void {
  for (const { tokenLogprobs, logprob, mean } of sequences) {
    const sum = tokenLogprobs.reduce((total, value) => total + value, 0);
    expect(tokenLogprobs.length).toBeGreaterThan(0);
    expectClose([logprob, mean], [sum, sum / tokenLogprobs.length], SUM_TOLERANCE);
    expect(mean).toBeLessThan(0);
  }
}

describe.each([
  ['narrow-vision', 'text', [1, 4, 4]],
  ['answers-float32', 'question', [1, 1, 1]], // The question goes to the encoder.
] as const)('%s', (checkpoint, textInput, promptLengths) => {
  const inputs = {
    img_url: [dataUri('chelsea'), dataUri('rocket'), dataUri('small')],
    [textInput]: ['', 'a picture of', 'two dogs'],
  };
  let model: Handler;
  beforeAll(async () => {
    model = new Handler(testSettings({ checkpoint: checkpointFolder(checkpoint) }));
    await model.initialize();
  });
  afterAll(() => model?.finalize());

  async function ask(parameters: object, from: object = inputs): Promise<Answer> {
    const { outputs } = await model.inferTensors({ inputs: { ...from, ...parameters }, outputs: names });
    // The answer has the outputs that were asked for.
    return Object.fromEntries(outputs.map((tensor) => [tensor.name, tensor])) as unknown as Answer;
  }

  test.each([
    [{}],
    [{ max_new_tokens: 1 }],
    [{ max_new_tokens: 30 }],
    [{ num_beams: 3 }],
    [{ num_beams: 3, length_penalty: -2, max_new_tokens: 6 }],
    [{ num_beams: 4, num_return_sequences: 3, min_new_tokens: 4 }],
    [{ repetition_penalty: 1.7, no_repeat_ngram_size: 2 }],
    [{ do_sample: true, seed: 3, num_return_sequences: 2, top_k: 5, temperature: 1.5 }],
  ])('the log-probability is the sum over the generated tokens, and the mean is per token: %j', async (parameters) => {
    const answer = await ask(parameters);
    const { num_return_sequences: count = 1 } = parameters as { num_return_sequences?: number };
    const shape = count === 1 ? [3] : [3, count];
    for (const name of ['sequence_logprob', 'mean_token_logprob'] as const)
      expect(answer[name]).toMatchObject({ name, datatype: 'FP32', shape });
    expectSums(sequencesOf(answer, promptLengths));
  });

  test('the score of beam search is the log-probability over the length to the power of its penalty', async () => {
    for (const penalty of [0, 1, 2, -1]) {
      const answer = await ask({ num_beams: 3, length_penalty: penalty });
      for (const { tokenLogprobs, logprob, score } of sequencesOf(answer, promptLengths))
        expectClose([score], [logprob / tokenLogprobs.length ** penalty], { absolute: 1e-4, relative: 1e-4 });
    }
  });

  test('an item that fails has zeros', async () => {
    const answer = await ask({}, { ...inputs, img_url: [dataUri('chelsea'), 'data:,x', dataUri('small')] });
    for (const name of ['sequence_logprob', 'mean_token_logprob'] as const) {
      const [first, failed, last] = answer[name].data.map(Number);
      expect(failed).toBe(0);
      for (const value of [first, last]) expect(value).toBeLessThan(0);
    }
  });

  test('neither is returned unless it is asked for', async () => {
    const { outputs } = await model.inferTensors({ inputs });
    expect(outputs).toHaveLength(1);
  });
});
