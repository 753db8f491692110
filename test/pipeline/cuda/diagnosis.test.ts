import { describe, expect, test } from 'vitest';
import { type CudaMachine, explainCudaFailure, findCudaMachine } from '../../../pipeline/cuda/diagnosis.ts';

/** The runtime's message, whatever is missing. */
const UNLOADED = 'OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library';

const provider = '/runtime/libonnxruntime_providers_cuda.so';

/** A machine with a provider for CUDA 13, where the dynamic loader finds all libraries but some. */
function machineWithout(...missing: readonly string[]): CudaMachine {
  const [first] = missing.filter((library) => library !== 'libcudnn.so.9'); // The provider opens it later.
  const notFound = (library: string) => `${library}: cannot open shared object file: No such file or directory`;
  return {
    isSupported: true,
    provider,
    hasProvider: true,
    hasCard: false,
    load(library) {
      if (library !== provider) return missing.includes(library) ? notFound(library) : undefined;
      return first === undefined ? `${provider}: undefined symbol: Provider_GetHost` : notFound(first);
    },
  };
}

describe('a library that is missing is named', () => {
  const cudnn = 'that of cuDNN 9 (libcudnn.so.9)';
  const driver = "those of NVIDIA's driver (libcuda.so.1)";

  test.each([
    [['libcublasLt.so.13'], 'those of CUDA 13 (libcublasLt.so.13)'],
    [['libcudart.so.12'], 'those of CUDA 12 (libcudart.so.12)'],
    [['libcurand.so.10'], 'libcurand.so.10'],
    [['libcuda.so.1'], driver],
    [['libcudnn.so.9'], cudnn],
    [['libcublas.so.13', 'libcuda.so.1', 'libcudnn.so.9'], `those of CUDA 13 (libcublas.so.13); ${driver}; ${cudnn}`],
  ])('%j', (missing, parts) => {
    expect(explainCudaFailure(UNLOADED, machineWithout(...missing))).toBe(
      `these libraries are missing, or their folders in LD_LIBRARY_PATH: ${parts}`,
    );
  });

  test('and so is the provider itself', () => {
    expect(explainCudaFailure('no provider', { ...machineWithout(), hasProvider: false })).toBe(
      "onnxruntime's CUDA provider is not installed; `blip-handler gpu` installs it",
    );
    expect(explainCudaFailure('no provider', { ...machineWithout(), isSupported: false })).toBe(
      'onnxruntime-node has CUDA on Linux x64 alone',
    );
  });
});

describe('where all libraries are there', () => {
  test.each([
    ['35', /^the driver is older than this CUDA needs, or sees no card; .+ \(CUDA failure 35\)$/],
    ['100', /^the driver sees no card/],
    ['101', /^there is no card of that number/],
    ['209', /compute capability 7\.5/],
  ])('CUDA failure %s is explained', (number, meaning) => {
    const problem = `CUDA failure ${number}: some words ; GPU=-1 ; expr=cudaSetDevice(info_.device_id);`;
    expect(explainCudaFailure(problem, machineWithout())).toMatch(meaning);
  });

  test('a CUDA failure counts before a cuDNN that is missing, too', () => {
    expect(explainCudaFailure('CUDA failure 35: old', machineWithout('libcudnn.so.9'))).toMatch(/^the driver is older/);
  });

  test('a library of another version is told as the dynamic loader has it', () => {
    const oddity = '/usr/lib/libcublas.so.13: undefined symbol: cublasNew, version libcublas.so.13';
    const machine = { ...machineWithout(), load: (library: string) => (library === provider ? oddity : undefined) };
    expect(explainCudaFailure(UNLOADED, machine)).toBe(
      `onnxruntime's CUDA provider does not fit the libraries that are there: ${oddity}`,
    );
  });

  test('a cuDNN that is there and does not work is told', () => {
    const problem = 'NOT_IMPLEMENTED : cuDNN is unavailable or disabled for CUDA Execution Provider';
    expect(explainCudaFailure(problem, machineWithout())).toBe(`cuDNN 9 is there and does not work: ${problem}`);
    expect(explainCudaFailure(problem, machineWithout('libcudnn.so.9'))).toMatch(
      /that of cuDNN 9 \(libcudnn\.so\.9\)$/,
    );
  });

  test('another problem is told as the runtime has it', () => {
    expect(explainCudaFailure('CUDA failure 719: odd', machineWithout())).toBe('CUDA failure 719: odd');
  });

  test('a card that is not used is told', () => {
    expect(explainCudaFailure('odd', { ...machineWithout(), hasCard: true })).toBe(
      'this machine has an NVIDIA card, which is not used: odd',
    );
  });
});

test('the dynamic loader of this machine finds the C library, and says what it does not find', () => {
  const { load } = findCudaMachine();
  expect(load('libnothing.so.77')).toContain('libnothing.so.77');
  expect(process.platform === 'linux' ? load('libc.so.6') : undefined).toBeUndefined();
});
