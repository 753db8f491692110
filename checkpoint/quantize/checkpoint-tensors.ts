import { copiedTensor } from '../new-checkpoint/new-folder.ts';
import type { TensorToWrite } from '../new-checkpoint/write-safetensors.ts';
import { blockSizeOf, languageModelHeads, type Storage, storageOf } from '../weights/int8-format.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import type { CalibratedInput } from './calibration.ts';
import { isUnused } from './needless-tensors.ts';
import { blockTensors, halfByteTensors, inputZeroPoint, productTensors } from './quantized-tensors.ts';
import { tensorIn } from './tensor-in-16-bits.ts';

/** The bits of a weight in the layers of a language model behind a Q-Former. */
export type LanguageModelBits = 8 | 4;

/**
 * The most inputs that have one scale in such a language model. Some features of its rows are far larger than the others,
 * and those in the same block lose by it: docs/decisions/0038-quantized-language-models.md.
 */
const LANGUAGE_BLOCK: Readonly<Record<LanguageModelBits, number>> = { 8: 64, 4: 32 };

type Regions = ReadonlyMap<string, TensorRegion>;

/** A quantization of one checkpoint. */
interface Job {
  readonly regions: Regions;
  /** By the name of the matrix that reads them. */
  readonly inputs: ReadonlyMap<string, CalibratedInput>;
  readonly bits: LanguageModelBits;
}

/**
 * All tensors of an int8 checkpoint, in the order of its file.
 * @param calibrated the inputs of matrices whose steps are fixed; the others have steps of their own for each row.
 * @throws CheckpointError when a matrix of several parts cannot be divided into them. Reading a tensor throws one for
 *   weights that are not finite.
 */
export function checkpointTensors(
  regions: Regions,
  bits: LanguageModelBits = 8,
  calibrated: readonly CalibratedInput[] = [],
): readonly TensorToWrite[] {
  const inputs = new Map(calibrated.flatMap((input) => input.matrices.map((name) => [name, input])));
  return inOrder([...layerTensors({ regions, inputs, bits }), ...headTensors(regions)]);
}

/** Everything but the language model's head. */
function layerTensors(job: Job): readonly TensorToWrite[] {
  const tensors = [...job.regions].flatMap(([name, region]) => tensorsOf(job, name, region));
  return [...tensors, ...[...job.inputs].map(([name, input]) => inputZeroPoint(moduleOf(name), input))];
}

function tensorsOf(job: Job, name: string, region: TensorRegion): readonly TensorToWrite[] {
  if (isUnused(job.regions, name) || isReplacedHead(job.regions, name)) return [];
  const storage = storageOf(region, name);
  if (storage !== undefined) return matrixTensors(job, name, region, storage);
  const isHalved = region.dtype === 'F32' && isLanguageEmbedding(name);
  return [isHalved ? tensorIn('float16', name, region) : copiedTensor(name, region)];
}

function matrixTensors(job: Job, name: string, region: TensorRegion, storage: Storage): readonly TensorToWrite[] {
  const module = moduleOf(name);
  if (storage === 'products') return productTensors(module, region, job.inputs.get(name));
  if (storage === 'blocks') return blockTensors(module, region);
  const blockSize = blockSizeOf(region.shape[1] ?? 0, LANGUAGE_BLOCK[job.bits]);
  return (job.bits === 4 ? halfByteTensors : blockTensors)(module, region, blockSize);
}

/** Rows that are looked up: 16 bits of each weight are finer by far than what the layers behind them are rounded to. */
function isLanguageEmbedding(name: string): boolean {
  return name.startsWith('language_model.') && languageModelHeads.some(({ embeddings }) => embeddings.includes(name));
}

/** `X` of `X.weight`. */
function moduleOf(name: string): string {
  return name.slice(0, name.lastIndexOf('.'));
}

/** A head has blocks in place of its matrix. That stays where the embeddings are stored as the head's matrix alone. */
function isReplacedHead(regions: Regions, name: string): boolean {
  return languageModelHeads.some(
    ({ module, embeddings }) => name === `${module}.weight` && embeddings.some((embedding) => regions.has(embedding)),
  );
}

/** The blocks of a language model's head, whose matrix a checkpoint may store as the embeddings alone. */
function headTensors(regions: Regions): readonly TensorToWrite[] {
  return languageModelHeads.flatMap(({ module, embeddings, largestBlock }) => {
    const [name] = [`${module}.weight`, ...embeddings].filter((each) => regions.has(each));
    const region = name === undefined ? undefined : regions.get(name);
    return region === undefined ? [] : blockTensors(module, region, blockSizeOf(region.shape[1] ?? 0, largestBlock));
  });
}

/** Tensors of a language model whose bytes are no multiple of 4 lie behind the floats, which begin at one. */
function inOrder(tensors: readonly TensorToWrite[]): readonly TensorToWrite[] {
  const isLast = ({ name, lengthBytes }: TensorToWrite) => name.startsWith('language_model.') && lengthBytes % 4 !== 0;
  return [...tensors.filter((tensor) => !isLast(tensor)), ...tensors.filter(isLast)];
}
