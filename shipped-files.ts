import { fileURLToPath } from 'node:url';

/**
 * The path of a file that ships with the package, from the path that it has in the package. The files lie beside this
 * one: in the sources, and in the bundle beside its chunks.
 */
export function shippedFile(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}
