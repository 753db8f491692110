import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type BlipCheckpoint, openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { readSafetensorsHeader, type TensorRegion } from '../../checkpoint/safetensors.ts';

/** What transformers computed with the small checkpoints: test/fixtures/make_goldens.py. */

export const checkpointNames = ['narrow-vision', 'sharded-float16', 'untied-bfloat16'] as const;
export type CheckpointName = (typeof checkpointNames)[number];
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

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));

export function checkpointFolder(name: CheckpointName): string {
  return `${fixtures}checkpoints/${name}`;
}

/** A checkpoint of BLIP; those of CLIP have other configurations. */
export function openBlipCheckpoint(folder: string): BlipCheckpoint {
  const checkpoint = openCheckpoint(folder);
  if (checkpoint.task !== 'clip') return checkpoint;
  throw new Error(`Expected a BLIP checkpoint in ${folder}, got CLIP.`);
}

export function imagePath(name: ImageName): string {
  if (name === 'chelsea') return fileURLToPath(new URL('../../examples/chelsea.png', import.meta.url));
  return `${fixtures}images/${name}.${name === 'rocket' ? 'jpg' : 'png'}`;
}

export function readGoldenGenerations(name: CheckpointName): readonly GoldenGeneration[] {
  return JSON.parse(readFileSync(`${fixtures}goldens/${name}.json`, 'utf8'));
}

export function readGoldenJson<T>(file: string): T {
  return JSON.parse(readFileSync(`${fixtures}goldens/${file}`, 'utf8'));
}

export function goldenFile(file: string): string {
  return `${fixtures}goldens/${file}`;
}

/** The golden tensors of a checkpoint, such as `chelsea.image_embeds`. */
export function openGoldenTensors(name: CheckpointName): {
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
