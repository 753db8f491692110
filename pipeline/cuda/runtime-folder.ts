import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** The folder of onnxruntime-node's native libraries for this system, and the version of the package. */
export interface RuntimeFolder {
  readonly version: string;
  readonly folder: string;
}

/** The libraries of CUDA's provider, which the runtime opens from the folder of its own. */
export const providerFiles = ['libonnxruntime_providers_cuda.so', 'libonnxruntime_providers_shared.so'] as const;

/**
 * Finds onnxruntime-node as the runtime is imported, without loading it.
 * @throws Error when the package is not installed.
 */
export function findRuntimeFolder(): RuntimeFolder {
  const require = createRequire(import.meta.url);
  const description = require.resolve('onnxruntime-node/package.json');
  const { version } = JSON.parse(readFileSync(description, 'utf8')) as { readonly version: string }; // npm writes it into every package.
  const binaries = join(dirname(description), 'bin');
  const [abi = 'napi-v6'] = readdirSync(binaries).filter((name) => name.startsWith('napi-'));
  return { version, folder: join(binaries, abi, process.platform, process.arch) };
}
