import { availableCpus } from '../container-limits.ts';

/** Decoders that a GPU is fed by where nothing is set: libuv has four threads, and one is left to files and names. */
const DEFAULT_THREADS = 4;

/**
 * Says where a GPU will wait for images: libuv's threads decode them, and their number cannot be changed once Node runs.
 * @returns lines for people; none where all CPUs may decode.
 */
export function decodingAdvice(
  { executionProvider }: { readonly executionProvider: string },
  threads = process.env['UV_THREADPOOL_SIZE'],
  cpuCount = availableCpus(),
): readonly string[] {
  if (executionProvider !== 'cuda' || threads !== undefined || cpuCount <= DEFAULT_THREADS) return [];
  const advice = `Set UV_THREADPOOL_SIZE=${cpuCount + 1} before Node starts, so that all CPUs decode images for the GPU.`;
  return [`${DEFAULT_THREADS - 1} of ${cpuCount} CPUs decode images. ${advice}`];
}
