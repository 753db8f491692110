import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';
import { type Bundle, buildBundle } from './bundle.ts';

/** One bundle for all tests of the project `bundle`: built before the first of them, removed after the last. */

declare module 'vitest' {
  export interface ProvidedContext {
    readonly bundleFolder: string;
  }
}

/** vitest calls this once before the tests of the project `bundle`. @returns the function to call after them. */
export default function setUp({ provide }: TestProject): () => void {
  const bundle = buildBundle();
  provide('bundleFolder', bundle.folder);
  return bundle.remove;
}

/** The bundle that all tests share: write nothing into its folder. */
export function builtBundle(): Bundle {
  const folder = inject('bundleFolder');
  if (folder === undefined) throw new Error('Expected a test of the project `bundle`: see vitest.config.ts.');
  return { folder };
}
