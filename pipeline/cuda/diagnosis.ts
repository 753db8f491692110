import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { findRuntimeFolder, providerFiles } from './runtime-folder.ts';

/** The parts of a machine that CUDA needs, as the dynamic loader finds them. */
export interface CudaMachine {
  /** Whether onnxruntime-node can use CUDA on this system. */
  readonly isSupported: boolean;
  /** Path of CUDA's provider. */
  readonly provider: string;
  readonly hasProvider: boolean;
  /** Whether the kernel's driver shows a card. */
  readonly hasCard: boolean;
  /** Loads a library as the runtime would. @returns why it cannot be loaded; `undefined` when it can. */
  readonly load: (library: string) => string | undefined;
}

export function findCudaMachine(): CudaMachine {
  const provider = join(findRuntimeFolder().folder, providerFiles[0]);
  return {
    isSupported: process.platform === 'linux' && process.arch === 'x64',
    provider,
    hasProvider: existsSync(provider),
    hasCard: existsSync('/dev/nvidiactl') || existsSync('/dev/dxg'), // The second is the card of Windows, in WSL.
    load: loadLibrary,
  };
}

/**
 * The runtime's own message is "Failed to load shared library" whatever is missing. The dynamic loader names the library.
 * A library that it loads is no addon of Node, so that the call fails in any case, and the message tells which.
 */
function loadLibrary(library: string): string | undefined {
  try {
    process.dlopen({ exports: {} }, library);
    return undefined;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return message.includes('did not self-register') ? undefined : message;
  }
}

const UNUSED_CARD = 'this machine has an NVIDIA card, which is not used';
const UNSUPPORTED = 'onnxruntime-node has CUDA on Linux x64 alone';
const NO_PROVIDER = "onnxruntime's CUDA provider is not installed";

/** Whether a person should hear why there is no CUDA: without a card and without its provider, nobody expects it. */
export function isNews(reason: string): boolean {
  return reason.includes(UNUSED_CARD) || !(reason.includes(UNSUPPORTED) || reason.includes(NO_PROVIDER));
}

/**
 * Says in one line why CUDA does not work, and what to do.
 * @param problem the runtime's message.
 */
export function explainCudaFailure(problem: string, machine: CudaMachine): string {
  const cause = failureOfDevice(problem, machine) ?? missingPart(machine) ?? problem;
  return machine.hasCard ? `${UNUSED_CARD}: ${cause}` : cause;
}

/** Says which parts are missing, or do not fit; `undefined` where all are there. */
export function missingPart({ isSupported, provider, hasProvider, load }: CudaMachine): string | undefined {
  if (!isSupported) return UNSUPPORTED;
  if (!hasProvider) return `${NO_PROVIDER}; \`blip-handler gpu\` installs it, or \`npm run gpu\` in a checkout`;
  const loading = load(provider);
  const missing = missingLibrary(loading);
  const isDriverMissing = load('libcuda.so.1') !== undefined;
  const parts = [
    ...(missing === undefined || missing === 'libcuda.so.1' ? [] : [librariesPart(missing)]),
    ...(isDriverMissing ? ["NVIDIA's driver (libcuda.so.1)"] : []),
    // The provider opens cuDNN when the first attention runs.
    ...(load('libcudnn.so.9') === undefined ? [] : ['cuDNN 9 (libcudnn.so.9)']),
  ];
  if (parts.length > 0)
    return `libraries are missing, or their folders are not in LD_LIBRARY_PATH: ${parts.join(', ')}`;
  // The symbol is one that the runtime provides: where nothing else is missing, all libraries are there.
  const isWhole = loading === undefined || loading.includes('Provider_GetHost');
  return isWhole ? undefined : `onnxruntime's CUDA provider does not fit the libraries that are there: ${loading}`;
}

/** The library that the dynamic loader does not find. */
function missingLibrary(problem: string | undefined): string | undefined {
  return /^(lib[^\s:]+): cannot open/.exec(problem ?? '')?.[1];
}

function librariesPart(library: string): string {
  const [, major] = /^libcu(?:blas|blasLt|dart)\.so\.(\d+)/.exec(library) ?? [];
  return major === undefined ? library : `CUDA ${major} (${library})`;
}

/** Numbers of `cudaError_t`. Source: the CUDA Runtime API, "Data types used by CUDA Runtime". */
const failuresByNumber: Readonly<Record<string, string>> = {
  2: "the card's memory is taken by others",
  35: 'the driver is older than this CUDA needs, or sees no card; `nvidia-smi` shows both',
  100: 'the driver sees no card; in a container, it must be given one',
  101: 'there is no card of that number',
  209: 'the card is too old: onnxruntime has kernels from compute capability 7.5 on',
  803: 'the driver and its libraries are of different versions',
};

function failureOfDevice(problem: string, { load }: CudaMachine): string | undefined {
  const isCudnnThere = load('libcudnn.so.9') === undefined;
  if (isCudnnThere && /cuDNN is unavailable/.test(problem)) return `cuDNN 9 is there and does not work: ${problem}`;
  const [, number = ''] = /CUDA failure (\d+)/.exec(problem) ?? [];
  const meaning = failuresByNumber[number];
  return meaning === undefined ? undefined : `${meaning} (CUDA failure ${number})`;
}
