import { expect } from 'vitest';
import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { TokenRules } from '../../checkpoint/config/token-rules.ts';
import { openWeights } from '../../checkpoint/weights/weights.ts';
import { captioningGraph } from '../../models/heads/captioning.ts';
import { questionAnsweringGraph } from '../../models/heads/question-answering.ts';
import type { GraphForm, GraphOptions } from '../../models/module.ts';
import type { Graph } from '../../onnx/graph.ts';
import { settingFeeds } from '../../pipeline/sessions/generation-feeds.ts';
import { createSession, type RuntimeTensor } from '../../pipeline/sessions/runtime.ts';
import { resolveGenerationSettings } from '../../pipeline/tasks/generation-settings.ts';
import { expectClose, type Tolerance } from './close-to.ts';
import {
  type AnswerCheckpointName,
  type CheckpointName,
  checkpointFolder,
  type GoldenAnswer,
  type GoldenGeneration,
  type ImageName,
  openBlipCheckpoint,
  openGoldenTensors,
} from './goldens.ts';
import { newImages } from './new-images.ts';

/** An ordinary token of every small checkpoint. */
const PADDING = 7;

export interface Sequence {
  readonly tokenIds: readonly number[];
  readonly tokenLogprobs: readonly number[];
  readonly score: number;
}

/** The parts that captions and answers share. */
export type GoldenRow = Omit<GoldenGeneration, 'prompt'> & Partial<Pick<GoldenAnswer, 'question_ids'>>;

/** Token ids are identical; log-probabilities and scores differ by rounding only. */
const LOGPROB_TOLERANCE = { absolute: 1e-4 };
const SCORE_TOLERANCE = { absolute: 1e-4, relative: 1e-4 };

export function expectGolden(
  row: GoldenRow,
  sequences: readonly Sequence[] | undefined,
  logprobTolerance: Tolerance = LOGPROB_TOLERANCE,
): void {
  const wanted = row.sequences;
  expect(sequences?.map(({ tokenIds }) => tokenIds)).toEqual(wanted.map(({ token_ids }) => token_ids));
  for (const [index, { token_logprobs, score }] of wanted.entries()) {
    expectClose(sequences?.[index]?.tokenLogprobs ?? [], token_logprobs, logprobTolerance);
    if (score !== undefined) expectClose([sequences?.[index]?.score ?? Number.NaN], [score], SCORE_TOLERANCE);
  }
}

/** Rows with equal parameters, under a readable title. */
export function byParameters<Row extends GoldenRow>(
  rows: readonly Row[],
): readonly [title: string, rows: readonly Row[]][] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const title = JSON.stringify(row.parameters);
    groups.set(title, [...(groups.get(title) ?? []), row]);
  }
  return [...groups];
}

export interface GenerationSession<Row extends GoldenRow = GoldenRow> {
  /** Runs golden rows as one batch. They must have equal parameters. */
  generate(rows: readonly Row[]): Promise<readonly (readonly Sequence[])[]>;
  release(): Promise<void>;
}

/** The captioning graph. */
export function openCaptioningSession(
  name: CheckpointName,
  options: GraphOptions = {},
  tokenRules: Partial<TokenRules> = {},
): Promise<GenerationSession> {
  return openSession(name, withRules(captioningGraph, tokenRules), options);
}

/** The question answering graph. */
export function openAnswerSession(
  name: AnswerCheckpointName,
  options: GraphOptions = {},
  tokenRules: Partial<TokenRules> = {},
): Promise<GenerationSession> {
  return openSession(name, withRules(questionAnsweringGraph, tokenRules), options);
}

export function openSessionOn(graph: Graph, dataFolder: string) {
  return createSession(graph, { executionProvider: 'cpu', threadCount: 2, dataFolder });
}

/** Writes the graph of a checkpoint that has these rules about tokens too. */
function withRules(writeGraph: typeof captioningGraph, tokenRules: Partial<TokenRules>): typeof captioningGraph {
  return (checkpoint, ...others) =>
    writeGraph({ ...checkpoint, tokenRules: { ...checkpoint.tokenRules, ...tokenRules } }, ...others);
}

async function openSession(
  name: CheckpointName | AnswerCheckpointName,
  writeGraph: typeof captioningGraph,
  options: GraphOptions,
): Promise<GenerationSession> {
  const checkpoint = openBlipCheckpoint(checkpointFolder(name));
  const weights = openWeights(checkpoint.folder);
  const session = await openSessionOn(writeGraph(checkpoint, weights, options), weights.dataFolder);
  const goldens = openGoldenTensors(name);
  return {
    async generate(rows) {
      const outputs = await session.run({
        ...imageInputs(checkpoint, rows, goldens, options.form),
        ...questionInputs(rows),
        ...promptInputs(rows),
        ...parameterInputs(rows),
      });
      return readSequences(rows, outputs);
    },
    release: () => session.release(),
  };
}

export function imageInputs(
  checkpoint: BlipCheckpoint,
  rows: readonly GoldenRow[],
  goldens: ReturnType<typeof openGoldenTensors>,
  form?: GraphForm,
) {
  const names = [...new Set(rows.map(({ image }) => image))] as ImageName[];
  return {
    ...newImages(checkpoint, resizedImages(names, goldens), form),
    image_index: int64s(rows.map(({ image }) => names.indexOf(image))),
  };
}

/** The golden pixels of pictures in one tensor. */
export function resizedImages(
  names: readonly string[],
  goldens: ReturnType<typeof openGoldenTensors>,
  kind: 'resized' | 'cropped' = 'resized',
): RuntimeTensor {
  const images = names.map((name) => goldens.bytes(`${name}.${kind}`));
  const data = Buffer.concat(images.map((image) => image.data));
  return { data: new Uint8Array(data), shape: [names.length, ...(images[0]?.shape ?? [])] };
}

/** Questions padded on the right; none for captions. */
export function questionInputs(rows: readonly GoldenRow[]): Record<string, RuntimeTensor> {
  const questions = rows.map((row) => row.question_ids).filter((ids) => ids !== undefined);
  if (questions.length === 0) return {};
  const { ids, lengths } = paddedTexts(questions);
  return { question_ids: ids, question_length: lengths };
}

/** Texts in one tensor, padded on the right with a token that has a meaning, which nothing may see. */
export function paddedTexts(texts: readonly (readonly number[])[]): {
  readonly ids: RuntimeTensor;
  readonly lengths: RuntimeTensor;
} {
  const longest = Math.max(...texts.map((text) => text.length));
  const padded = texts.flatMap((text) => [...text, ...Array.from({ length: longest - text.length }, () => PADDING)]);
  return { ids: int64s(padded, [texts.length, longest]), lengths: int64s(texts.map((text) => text.length)) };
}

/** The golden's own prompt tokens: everything before what was generated. */
function promptIds(row: GoldenRow): readonly number[] {
  const [first] = row.sequences;
  return first?.token_ids.slice(0, first.token_ids.length - first.token_logprobs.length) ?? [];
}

export function promptInputs(rows: readonly GoldenRow[]): Record<string, RuntimeTensor> {
  const prompts = rows.map(promptIds);
  const length = Math.max(...prompts.map((prompt) => prompt.length));
  const padded = prompts.map((prompt) => [
    ...Array.from({ length: length - prompt.length }, () => prompt[0] ?? 0),
    ...prompt,
  ]);
  return {
    input_ids: int64s(padded.flat(), [rows.length, length]),
    padding_length: int64s(prompts.map((prompt) => length - prompt.length)),
  };
}

export function parameterInputs(rows: readonly GoldenRow[]): Record<string, RuntimeTensor> {
  const parameters = rows[0]?.parameters ?? {};
  const number = (name: string, usual: number) => Number(parameters[name] ?? usual);
  const uniforms = rows.flatMap((row) => row.uniforms.flat());
  const [steps = 1, draws = 1] = [rows[0]?.uniforms.length || 1, rows[0]?.uniforms[0]?.length];
  return {
    max_new_tokens: int64s(rows.map(() => number('max_new_tokens', 20))),
    min_new_tokens: int64s(rows.map(() => number('min_new_tokens', 0))),
    ...settingFeeds(resolveGenerationSettings({ ...parameters }, {}).shared),
    uniforms: uniforms.length === 0 ? float32s([0], [1, 1, 1]) : float32s(uniforms, [rows.length, steps, draws]),
  };
}

export function readSequences(
  rows: readonly GoldenRow[],
  outputs: Readonly<Record<string, RuntimeTensor>>,
): readonly (readonly Sequence[])[] {
  const data = (name: string) => outputs[name]?.data ?? new Float32Array();
  const [, perRow = 0, length = 0] = outputs['token_ids']?.shape ?? [];
  const longestPrompt = Math.max(...rows.map((row) => promptIds(row).length));
  return rows.map((row, rowIndex) =>
    Array.from({ length: perRow }, (_, offset) => {
      const sequence = rowIndex * perRow + offset;
      const prompt = promptIds(row).length;
      const from = sequence * length + longestPrompt - prompt;
      const to = sequence * length + Number(data('sequence_end')[sequence]);
      return {
        tokenIds: Array.from(data('token_ids').slice(from, to), Number),
        tokenLogprobs: Array.from(data('token_logprobs').slice(from + prompt, to), Number),
        score: Number(data('sequence_score')[sequence]),
      };
    }),
  );
}

export function int64s(values: readonly number[], shape: readonly number[] = [values.length]): RuntimeTensor {
  return { data: BigInt64Array.from(values, BigInt), shape };
}

export function float32s(values: readonly number[], shape: readonly number[]): RuntimeTensor {
  return { data: Float32Array.from(values), shape };
}
