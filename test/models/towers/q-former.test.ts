import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { readQFormerConfig } from '../../../checkpoint/config/qformer-config.ts';
import { readJsonFile } from '../../../checkpoint/files/json-file.ts';
import { readInteger, subsection } from '../../../checkpoint/files/json-section.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { child, type GraphForm, type Module, rootModule } from '../../../models/module.ts';
import { orderedRows, rowsByImage } from '../../../models/rows-by-image.ts';
import {
  type QFormerInputs,
  qFormer,
  qFormerCrossStates,
  queryEmbeddings,
  wordEmbeddings,
} from '../../../models/towers/q-former.ts';
import { addInput, addOutput, createGraph, type Value } from '../../../onnx/graph.ts';
import { createSession } from '../../../pipeline/sessions/runtime.ts';
import { expectClose } from '../../support/close-to.ts';
import { inEachForm } from '../../support/forms.ts';
import { float32s, int64s, paddedTexts } from '../../support/generation-session.ts';

/** The Q-Former against transformers, with goldens by test/fixtures/make_q_former_goldens.py: each text alone. */

const TOLERANCE = { absolute: 2e-5 };
const fixtures = fileURLToPath(new URL('../../fixtures/q-former', import.meta.url));

interface Goldens {
  readonly texts: readonly (readonly number[])[];
  readonly image_of_text: readonly number[];
  readonly image_tokens: number;
  /** [images, tokens, width] */
  readonly vision_states: readonly number[];
  /** [texts, queries, hidden] */
  readonly both: readonly number[];
  /** [images, queries, hidden], of BLIP-2 alone. */
  readonly queries?: readonly number[];
  /** [texts, hidden], of BLIP-2 alone. */
  readonly first_words?: readonly number[];
}

const readGoldens = (name: string): Goldens => JSON.parse(readFileSync(join(fixtures, name, 'goldens.json'), 'utf8'));

/** Where a checkpoint keeps the embeddings of words and the norm over rows, by its name. */
const modules = {
  retrieval: { words: 'embeddings', norm: 'qformer.layernorm' },
  instruction: { words: 'qformer.embeddings', norm: 'qformer.embeddings.layernorm' },
} as const;
const names = ['retrieval', 'instruction'] as const;
type Name = (typeof names)[number];

/** Everything that a use of the Q-Former may read. */
interface Given {
  readonly model: Module;
  readonly queriesOf: (rowCount: Value<'int64'>) => Value<'float32' | 'float16' | 'bfloat16'>;
  readonly words: Value<'float32' | 'float16' | 'bfloat16'>;
  readonly textLength: Value<'int64'>;
  readonly imageIndex: Value<'int64'>;
  readonly imageCount: Value<'int64'>;
  readonly queryCount: number;
  readonly hiddenSize: number;
}

type Use = (given: Given, cross: ReturnType<typeof qFormerCrossStates>) => Omit<QFormerInputs, 'norm'>;

const queriesAlone: Use = ({ model, queriesOf, imageCount, queryCount, hiddenSize }, cross) => ({
  embeddings: queriesOf(imageCount),
  queryCount,
  image: { cross, rowsByImage: orderedRows(model, imageCount, hiddenSize) },
});
const wordsAlone: Use = ({ words, textLength }) => ({ embeddings: words, queryCount: 0, textLength });
const queriesAndWords: Use = (given, cross) => {
  const { model, queriesOf, words, textLength, imageIndex, imageCount, queryCount, hiddenSize } = given;
  const { op } = model;
  return {
    embeddings: op.concat([queriesOf(op.dimension(words, 0)), words], 1),
    queryCount,
    textLength,
    image: { cross, rowsByImage: rowsByImage(model, imageIndex, imageCount, hiddenSize) },
  };
};

/** Writes all uses into one graph, as that of retrieval does, and runs it on all texts as one batch. */
async function compute(name: Name, form: GraphForm, uses: readonly Use[]) {
  const section = readJsonFile(join(fixtures, name, 'config.json')) ?? expect.fail('no config.json');
  const goldens = readGoldens(name);
  const imageCount = Math.max(...goldens.image_of_text) + 1;
  const width = goldens.vision_states.length / imageCount / goldens.image_tokens;
  const config = readQFormerConfig(subsection(section, 'qformer_config'), width);
  const queryCount = readInteger(section, 'num_query_tokens', 0, 1);
  const weights = openWeights(join(fixtures, name));
  const graph = createGraph('q-former');
  const model = rootModule(graph, weights, { form });
  const inputIds = addInput(graph, 'input_ids', 'int64', ['texts', 'length']);
  const states = addInput(graph, 'vision_states', 'float32', ['rows', width]);
  const module = child(model, 'qformer');
  const given: Given = {
    model,
    queriesOf: (rowCount) => queryEmbeddings(model, config, queryCount, rowCount),
    words: wordEmbeddings(child(model, modules[name].words), config, inputIds),
    textLength: addInput(graph, 'text_length', 'int64', ['texts']),
    imageIndex: addInput(graph, 'image_index', 'int64', ['texts']),
    imageCount: model.op.constant('int64', [imageCount]),
    queryCount,
    hiddenSize: config.hiddenSize,
  };
  const cross = qFormerCrossStates(module, config, states, goldens.image_tokens);
  const norm = child(model, modules[name].norm);
  for (const [index, use] of uses.entries())
    addOutput(graph, `output.${index}`, qFormer(module, config, { ...use(given, cross), norm }));
  const session = await createSession(graph, {
    executionProvider: 'cpu',
    threadCount: 1,
    dataFolder: weights.dataFolder,
  });
  const { ids, lengths } = paddedTexts(goldens.texts);
  const outputs = await session.run({
    input_ids: ids,
    text_length: lengths,
    image_index: int64s(goldens.image_of_text),
    vision_states: float32s(goldens.vision_states, [imageCount * goldens.image_tokens, width]),
  });
  await session.release();
  const all = uses.map((_, index) => Array.from(outputs[`output.${index}`]?.data ?? [], Number));
  return { goldens, hiddenSize: config.hiddenSize, outputs: all };
}

describe.each(inEachForm(names))('%s in the %s form', (name, form) => {
  test('query vectors see the words of their row, and its image', async () => {
    const { goldens, outputs } = await compute(name, form, [queriesAndWords]);
    expectClose(outputs[0] ?? [], goldens.both, TOLERANCE);
  });
});

describe.each(inEachForm(['retrieval']))('%s in the %s form', (name, form) => {
  test('one graph has query vectors alone, words alone, and both', async () => {
    const uses = [queriesAlone, wordsAlone, queriesAndWords];
    const { goldens, hiddenSize, outputs } = await compute(name, form, uses);
    const [queries = [], words = [], both = []] = outputs;
    expectClose(queries, goldens.queries ?? [], TOLERANCE);
    expectClose(both, goldens.both, TOLERANCE);
    const rowLength = words.length / goldens.texts.length;
    const firstWords = goldens.texts.flatMap((_, row) => words.slice(row * rowLength, row * rowLength + hiddenSize));
    expectClose(firstWords, goldens.first_words ?? [], TOLERANCE);
  });
});
