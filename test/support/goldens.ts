import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  type Blip2Checkpoint,
  type BlipCheckpoint,
  type ClipCheckpoint,
  isBlip2Retrieval,
  openCheckpoint,
} from '../../checkpoint/checkpoint.ts';
import { readSafetensorsHeader, type TensorRegion } from '../../checkpoint/weights/safetensors.ts';

/** Results of transformers with the small checkpoints, by make_goldens.py and its like of test/fixtures. */

/** Captioning. */
export const checkpointNames = ['narrow-vision', 'sharded-float16', 'untied-bfloat16'] as const;
export type CheckpointName = (typeof checkpointNames)[number];
export const answerCheckpointNames = ['answers-float32', 'answers-float16'] as const;
export const retrievalCheckpointNames = ['retrieval-wide-vision', 'retrieval-bfloat16'] as const;
export const clipCheckpointNames = ['clip-placeholder-end', 'clip-real-end'] as const;
/** BLIP-2 and InstructBLIP. */
export const imageTextCheckpointNames = [
  'blip2-opt',
  'blip2-opt-legacy',
  'blip2-opt-float16',
  'blip2-t5',
  'blip2-t5-legacy',
  'blip2-t5-bfloat16',
  'instructblip-t5',
  'instructblip-vicuna',
  'blip2-llama',
] as const;
export const blip2RetrievalCheckpointNames = ['blip2-itm', 'blip2-itm-legacy'] as const;
/** Of both families. */
export const allRetrievalCheckpointNames = [...retrievalCheckpointNames, ...blip2RetrievalCheckpointNames] as const;
export type ImageTextCheckpointName = (typeof imageTextCheckpointNames)[number];
export type AnswerCheckpointName = (typeof answerCheckpointNames)[number];
export type RetrievalCheckpointName = (typeof allRetrievalCheckpointNames)[number];
export type ClipCheckpointName = (typeof clipCheckpointNames)[number];
/** In open_clip's own files, of test/fixtures/open-clip. */
export const openClipNames = ['quick-gelu', 'odd-sizes'] as const;
export type OpenClipName = (typeof openClipNames)[number];
type AnyCheckpointName =
  | CheckpointName
  | AnswerCheckpointName
  | RetrievalCheckpointName
  | ClipCheckpointName
  | ImageTextCheckpointName;
export const imageNames = ['chelsea', 'rocket', 'small'] as const;
export type ImageName = (typeof imageNames)[number];

/** One call of `generate` with one row. */
export interface GoldenGeneration {
  readonly parameters: Readonly<Record<string, number | boolean | 'never'>>;
  readonly image: ImageName;
  readonly prompt: string | null;
  /** [steps][draws]: the numbers that sampling drew with. */
  readonly uniforms: readonly (readonly number[])[];
  readonly sequences: readonly GoldenSequence[];
}

export interface GoldenSequence {
  readonly token_ids: readonly number[];
  readonly token_logprobs: readonly number[];
  /** `sequences_scores`; beam search only. */
  readonly score?: number;
}

/** One answer of `BlipForQuestionAnswering.generate`, or several to one question. */
export interface GoldenAnswer extends Omit<GoldenGeneration, 'prompt'> {
  readonly question: string;
  /** Names the golden tensors of the question, such as `chelsea.0.logits`. */
  readonly question_number: number;
  /** [CLS], the question and [SEP]. */
  readonly question_ids: readonly number[];
  /** The first sequence as text. */
  readonly answer: string;
}

export interface GoldenText {
  readonly text: string;
  readonly input_ids: readonly number[];
}

/** The rows and columns of `cosine_similarity` and other golden matrices. */
export interface GoldenPairs {
  readonly images: readonly ImageName[];
  readonly texts: readonly GoldenText[];
}

export interface GoldenClip extends GoldenPairs {
  /** Pictures to crop, by the names of golden tensors such as `portrait.cropped`: the file, and the part of it. */
  readonly parts: Readonly<Record<string, { readonly file: ImageName; readonly box: Box | null }>>;
  readonly tokenized: readonly { readonly text: string; readonly ids: readonly number[] }[];
}

export type Box = readonly [left: number, top: number, right: number, bottom: number];

export const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));

export function checkpointFolder(name: AnyCheckpointName): string {
  return `${fixtures}checkpoints/${name}`;
}

/** A checkpoint of BLIP; those of CLIP have other configurations. */
export function openBlipCheckpoint(folder: string): BlipCheckpoint {
  const checkpoint = openCheckpoint(folder);
  const isBlip = checkpoint.task !== 'clip' && checkpoint.task !== 'image-text-to-text';
  if (isBlip && !isBlip2Retrieval(checkpoint)) return checkpoint;
  throw new Error(`Expected a BLIP checkpoint in ${folder}, got one for ${checkpoint.task}.`);
}

export function openBlip2Checkpoint(folder: string): Blip2Checkpoint {
  const checkpoint = openCheckpoint(folder);
  if (checkpoint.task === 'image-text-to-text') return checkpoint;
  throw new Error(`Expected a BLIP-2 checkpoint in ${folder}, got one for ${checkpoint.task}.`);
}

export function openClipCheckpoint(folder: string): ClipCheckpoint {
  const checkpoint = openCheckpoint(folder);
  if (checkpoint.task === 'clip') return checkpoint;
  throw new Error(`Expected a CLIP checkpoint in ${folder}, got ${checkpoint.task}.`);
}

export function imagePath(name: ImageName): string {
  return `${fixtures}images/${name}.${name === 'rocket' ? 'jpg' : 'png'}`;
}

/** A request of test/fixtures/requests, as its client sent it. */
export function requestPath(
  name: 'cog-question' | 'jina-client' | 'max-length' | 'nulls' | 'plus-as-space' | 'space-before-base64',
): string {
  return `${fixtures}requests/${name}.json`;
}

export function readGoldenGenerations(name: CheckpointName): readonly GoldenGeneration[] {
  return JSON.parse(readFileSync(`${fixtures}goldens/${name}.json`, 'utf8'));
}

export function readGoldenJson<T>(file: string): T {
  return JSON.parse(readFileSync(`${fixtures}goldens/${file}`, 'utf8'));
}

/** One call of `generate` of BLIP-2 or InstructBLIP with one row. */
export interface GoldenContinuation extends GoldenGeneration {
  readonly prompt_number: number;
  /** As transformers' processor makes them: the image's token for each of its vectors, and then the prompt. */
  readonly input_ids: readonly number[];
}

/** What a row's parameters say before there is a graph: lengths that count the prompt, seeds, and sizes of images. */
const beforeGraphs = ['max_length', 'min_length', 'seed', 'image_size'];

/** Rows whose parameters are a graph's. */
export function readContinuations(name: ImageTextCheckpointName): readonly GoldenContinuation[] {
  const rows = readGoldenJson<readonly Omit<GoldenContinuation, 'uniforms'>[]>(`${name}.json`);
  return rows
    .filter(({ parameters }) => !beforeGraphs.some((parameter) => parameter in parameters))
    .map((row) => ({ ...row, uniforms: [] }));
}

export function goldenFile(file: string): string {
  return `${fixtures}goldens/${file}`;
}

/** The golden tensors of a checkpoint, such as `chelsea.image_embeds`. */
export function openGoldenTensors(name: AnyCheckpointName | 'positions' | `open-clip-${OpenClipName}`): {
  bytes(tensor: string): { data: Uint8Array; shape: readonly number[] };
  floats(tensor: string): { data: Float32Array; shape: readonly number[] };
} {
  const path = `${fixtures}goldens/${name}.safetensors`;
  const regions = new Map<string, TensorRegion>(readSafetensorsHeader(path).map((region) => [region.name, region]));
  const file = readFileSync(path);
  const read = (tensor: string) => {
    const region = regions.get(tensor);
    if (region === undefined) throw new Error(`No golden tensor ${tensor}.`);
    return {
      data: new Uint8Array(file.subarray(region.offsetBytes, region.offsetBytes + region.lengthBytes)),
      shape: region.shape,
    };
  };
  return {
    bytes: read,
    floats(tensor) {
      const { data, shape } = read(tensor);
      return { data: new Float32Array(data.buffer), shape };
    },
  };
}
