import { describe, expect, test } from 'vitest';
import type { OptConfig } from '../../../checkpoint/config/opt-config.ts';
import { noTokenRules } from '../../../checkpoint/config/token-rules.ts';
import { generate } from '../../../models/generation/generate.ts';
import { optLanguageModel, prepareOptPadding } from '../../../models/language-models/opt.ts';
import { child, type GraphForm, type GraphOptions, rootModule } from '../../../models/module.ts';
import { addOutput, createGraph } from '../../../onnx/graph.ts';
import { flatten } from '../../../onnx/value-tree.ts';
import { createSession, type RuntimeTensor } from '../../../pipeline/sessions/runtime.ts';
import { expectClose } from '../../support/close-to.ts';
import { constantParameters } from '../../support/evaluate.ts';
import { forms } from '../../support/forms.ts';
import { greedyByHand, optShapes, SMALL_OPT } from '../../support/opt-by-hand.ts';
import { randomTensors, weightsOf } from '../../support/random-tensors.ts';

/** OPT against the same arithmetic in float64, in all that its configuration may say. */

const usual: OptConfig = { ...SMALL_OPT, layerCount: 3 };

const kinds: readonly (readonly [string, OptConfig, { readonly hasHead: boolean }])[] = [
  ['as most are', usual, { hasHead: false }],
  ['with norms behind the blocks', { ...usual, normFirst: false, hasFinalNorm: false }, { hasHead: false }],
  [
    'as Galactica is: without biases and weights of norms',
    { ...usual, hasBias: false, hasNormWeights: false },
    { hasHead: true },
  ],
  ['without the last norm', { ...usual, hasFinalNorm: false, layerCount: 1 }, { hasHead: true }],
];

const prompts = [
  [2, 5, 30, 7, 12],
  [2, 33],
  [2, 11, 20],
];
const NEW_TOKENS = 8;
const cases = kinds.flatMap((kind) => forms.map((form) => [...kind, form] as const));

/** The ids and log-probabilities of each prompt's new tokens, all prompts as one batch padded on the left. */
async function generated(config: OptConfig, weights: Awaited<ReturnType<typeof weightsOf>>, options: GraphOptions) {
  const graph = createGraph('opt');
  const model = rootModule(graph, weights, options);
  const { op } = model;
  const longest = Math.max(...prompts.map((prompt) => prompt.length));
  const padding = prompts.map((prompt) => longest - prompt.length);
  const padded = prompts.flatMap((prompt, row) => [...Array.from({ length: padding[row] ?? 0 }, () => 17), ...prompt]);
  const prompt = {
    inputIds: op.constant('int64', padded, [prompts.length, longest]),
    paddingLength: op.constant('int64', padding),
  };
  const perRow = (count: number) => op.fill('int64', count, [prompts.length]);
  const parameters = constantParameters(model, { maxNewTokens: perRow(NEW_TOKENS), minNewTokens: perRow(0) });
  const module = child(model, 'language_model');
  const language = optLanguageModel(module, config);
  const greedy = {
    fits: op.constant('bool', true),
    model: optLanguageModel(module, config, prepareOptPadding(module, config, prompt, parameters)),
  };
  const sequences = generate(
    model,
    prompt,
    parameters,
    language,
    noTokenRules,
    options.form === 'lean' ? greedy : undefined,
  );
  for (const [name, value] of flatten(sequences)) addOutput(graph, name, value);
  const session = await createSession(graph, {
    executionProvider: 'cpu',
    threadCount: 1,
    dataFolder: weights.dataFolder,
  });
  const outputs = await session.run({});
  await session.release();
  return prompts.map((prompt, row) => rowOf(outputs, row, padding[row] ?? 0, prompt.length));
}

function rowOf(outputs: Readonly<Record<string, RuntimeTensor>>, row: number, padding: number, promptLength: number) {
  const length = outputs['tokenIds']?.shape[2] ?? 0;
  const [from, to] = [row * length + padding, row * length + Number(outputs['ends']?.data[row])];
  const numbers = (name: string, start: number) => Array.from(outputs[name]?.data.slice(start, to) ?? [], Number);
  return { tokenIds: numbers('tokenIds', from), logprobs: numbers('tokenLogprobs', from + promptLength) };
}

describe.each(cases)('%s', (_, config, { hasHead }, form: GraphForm) => {
  test(`writes what is computed by hand, in the ${form} form`, async () => {
    const tensors = randomTensors(optShapes(config, hasHead), 4);
    const rows = await generated(config, await weightsOf(tensors), { form });
    for (const [index, prompt] of prompts.entries()) {
      const expected = greedyByHand(tensors, config, prompt, NEW_TOKENS);
      expect(rows[index]?.tokenIds).toEqual(expected.tokenIds);
      expectClose(rows[index]?.logprobs ?? [], expected.logprobs, { absolute: 2e-5 });
    }
  });
});

test('most texts differ, and some end before others', () => {
  const texts = kinds.flatMap(([, config, { hasHead }]) => {
    const tensors = randomTensors(optShapes(config, hasHead), 4);
    return prompts.map((prompt) => greedyByHand(tensors, config, prompt, NEW_TOKENS).tokenIds.slice(prompt.length));
  });
  expect(new Set(texts.map(String)).size).toBeGreaterThanOrEqual(10);
  expect(new Set(texts.map((text) => text.length)).size).toBeGreaterThan(1);
});
