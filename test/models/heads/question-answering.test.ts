import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { imageTokenCount } from '../../../checkpoint/config/vision-config.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { addQuestionInputs, encodeQuestions } from '../../../models/heads/question-answering.ts';
import { crossAttentionStates } from '../../../models/language-models/bert.ts';
import { embedText, emptyCache, textDecoder } from '../../../models/language-models/text-decoder.ts';
import { child, rootModule } from '../../../models/module.ts';
import { oneRowPerImage, rowsByImage } from '../../../models/rows-by-image.ts';
import { textEncoder } from '../../../models/towers/text-encoder.ts';
import { visionStates } from '../../../models/towers/vision-states.ts';
import { addOutput, createGraph } from '../../../onnx/graph.ts';
import { createSession, type Session } from '../../../pipeline/sessions/runtime.ts';
import { expectClose } from '../../support/close-to.ts';
import {
  byParameters,
  expectGolden,
  imageInputs,
  openAnswerSession,
  questionInputs,
} from '../../support/generation-session.ts';
import {
  type AnswerCheckpointName,
  answerCheckpointNames,
  checkpointFolder,
  type GoldenAnswer,
  openBlipCheckpoint,
  openGoldenTensors,
  readGoldenJson,
} from '../../support/goldens.ts';

const STATES_TOLERANCE = { absolute: 1e-5, relative: 1e-4 };
const LOGITS_TOLERANCE = { absolute: 1e-4 };

/** The stages of the question answering graph before its loop, with their values as outputs. */
async function openStages(name: AnswerCheckpointName): Promise<Session> {
  const checkpoint = openBlipCheckpoint(checkpointFolder(name));
  const weights = openWeights(checkpoint.folder);
  const { vision, text } = checkpoint.config;
  const graph = createGraph('stages');
  const model = rootModule(graph, weights);
  const inputs = addQuestionInputs(graph, checkpoint, model.form);
  const encoder = child(model, 'text_encoder');
  const { rows: imageEmbeds, imageCount } = visionStates(model, checkpoint, inputs.images);
  const imageSize = { width: text.encoderHiddenSize, length: imageTokenCount(vision) };
  const states = textEncoder(encoder, text, {
    inputIds: inputs.questionIds,
    textLength: inputs.questionLength,
    image: {
      cross: crossAttentionStates(encoder, text, imageEmbeds, imageSize),
      rowsByImage: rowsByImage(model, inputs.imageIndex, imageCount, text.hiddenSize),
    },
  });
  const rowCount = model.op.dimension(inputs.questionIds, 0);
  const decoder = child(model, 'text_decoder');
  const { logits } = textDecoder(decoder, text, {
    embeddings: embedText(decoder, text, model.op.fill('int64', text.bosTokenId, [rowCount, 1])),
    paddingLength: model.op.expand(model.op.constant('int64', 0), [rowCount]),
    past: emptyCache(model, text, rowCount, model.precision),
    cross: encodeQuestions(model, checkpoint, inputs),
    rowsByImage: oneRowPerImage(model, rowCount, text.hiddenSize),
  });
  addOutput(graph, 'question_states', states);
  addOutput(graph, 'logits', logits);
  return await createSession(graph, { executionProvider: 'cpu', threadCount: 2, dataFolder: weights.dataFolder });
}

describe.each(answerCheckpointNames)('%s computes what transformers computes', (name) => {
  const goldens = openGoldenTensors(name);
  /** Of different lengths; two about each of two pictures. */
  const questions = readGoldenJson<readonly GoldenAnswer[]>(`${name}.json`).slice(0, 5);
  let session: Session;
  beforeAll(async () => {
    session = await openStages(name);
  });
  afterAll(() => session?.release());

  async function expectGoldenStages(rows: readonly GoldenAnswer[]): Promise<void> {
    const outputs = await session.run({
      ...imageInputs(openBlipCheckpoint(checkpointFolder(name)), rows, goldens),
      ...questionInputs(rows),
    });
    const output = (tensor: string) => (outputs[tensor]?.data ?? new Float32Array()) as Float32Array;
    const longest = Math.max(...rows.map(({ question_ids: ids }) => ids.length));
    for (const [index, row] of rows.entries()) {
      const golden = (tensor: string) => goldens.floats(`${row.image}.${row.question_number}.${tensor}`);
      const { data: states, shape } = golden('question_states');
      const width = shape.at(-1) ?? 0;
      const from = index * longest * width;
      expectClose(output('question_states').subarray(from, from + states.length), states, STATES_TOLERANCE);
      const { data: logits } = golden('logits');
      expectClose(
        output('logits').subarray(index * logits.length, (index + 1) * logits.length),
        logits,
        LOGITS_TOLERANCE,
      );
    }
  }

  test.each(questions)('for one question about $image: $question', async (row) => {
    await expectGoldenStages([row]);
  });

  test('for several questions about one picture', async () => {
    const aboutChelsea = questions.filter(({ image }) => image === 'chelsea');
    expect(new Set(aboutChelsea.map(({ question_ids: ids }) => ids.length)).size).toBeGreaterThan(1);
    await expectGoldenStages(aboutChelsea);
  });

  test('for questions of different lengths about different pictures, in any order', async () => {
    await expectGoldenStages(questions);
    await expectGoldenStages([...questions, ...questions.slice(0, 2)].reverse());
  });
});

describe.each(answerCheckpointNames)('%s answers what transformers answers', (name) => {
  const groups = byParameters(readGoldenJson<readonly GoldenAnswer[]>(`${name}.json`));
  let session: Awaited<ReturnType<typeof openAnswerSession>>;
  beforeAll(async () => {
    session = await openAnswerSession(name);
  });
  afterAll(() => session?.release());

  test('and the goldens differ by question and by picture', () => {
    const [, rows = []] = groups[0] ?? [];
    const answers = rows.map(({ sequences }) => JSON.stringify(sequences[0]?.token_logprobs));
    expect(new Set(answers).size).toBe(rows.length);
  });

  test.each(groups)('row by row with %s', async (_, rows) => {
    for (const row of rows) expectGolden(row, (await session.generate([row]))[0]);
  });

  test.each(groups)('as one batch of different pictures and question lengths with %s', async (_, rows) => {
    const answers = await session.generate(rows);
    for (const [index, row] of rows.entries()) expectGolden(row, answers[index]);
  });

  test('whatever the order of the rows, and with more questions about one picture than another', async () => {
    const [, rows = []] = groups[0] ?? [];
    const mixed = [...rows, ...rows.filter(({ image }) => image === 'rocket'), ...rows].reverse();
    const answers = await session.generate(mixed);
    for (const [index, row] of mixed.entries()) expectGolden(row, answers[index]);
  });
});
