import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';
import { type Bundle, buildBundle } from './bundle.ts';

/** One bundle for all tests that need dist/: built before the first test, removed after the last. A watch builds it once. */

declare module 'vitest' {
  export interface ProvidedContext {
    readonly bundleFolder: string;
  }
}

/** Set while the bundle exists: the set-ups of all projects run in one process, and the first one builds. */
const FOLDER_VARIABLE = 'BLIP_TEST_BUNDLE';

/** vitest calls this once for each project that names it, before all tests. @returns the function to call after them. */
export default function setUp({ provide }: TestProject): () => void {
  const builtFolder = process.env[FOLDER_VARIABLE];
  if (builtFolder !== undefined) {
    provide('bundleFolder', builtFolder);
    return () => undefined;
  }
  const bundle = buildBundle();
  process.env[FOLDER_VARIABLE] = bundle.folder;
  provide('bundleFolder', bundle.folder);
  return () => {
    delete process.env[FOLDER_VARIABLE];
    bundle.remove();
  };
}

/** The bundle that all tests share: write nothing into its folder. */
export function builtBundle(): Bundle {
  const folder = inject('bundleFolder');
  if (folder === undefined)
    throw new Error('Expected a project with built-bundle.ts as its set-up: see vitest.config.ts.');
  return { folder };
}
