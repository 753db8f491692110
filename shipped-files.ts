import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Files that ship with the package. They lie beside this file: in the sources, and in the bundle beside its chunks. */

export const shippedCheckpoint = shippedFile('checkpoints/scenes-captioning');
export const shippedPage = shippedFile('handlers/http/doors/page-and-docs/page');
export const shippedPicture = shippedFile('examples/apples-and-cat.png');

/** The folder of Swagger UI: copied beside the bundle; in the sources, where npm installed it. */
export function swaggerUiFolder(): string {
  const copied = shippedFile('swagger-ui');
  return existsSync(copied) ? copied : shippedFile('node_modules/swagger-ui-dist');
}

function shippedFile(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}
