import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** Programs of dist/ as processes. */
const bundle = ['test/handlers/command-line/**/*.test.ts', 'test/**/*bundle.test.ts'];
/** Measure the memory of their process, which therefore runs nothing else. */
const ownProcess = ['test/**/*-own-process.test.ts'];
/** Servers, and the function of AWS Lambda. */
const doors = ['test/handlers/**/*.test.ts'];
/** The running model: worker threads, images from the network, downloads. */
const pipeline = [
  'test/app.test.ts',
  'test/checkpoint/{hub,quantize}/**/*.test.ts',
  'test/pipeline/!(settings).test.ts',
  'test/pipeline/{images,sessions,tasks,workers}/**/*.test.ts',
];

export default defineConfig({
  test: {
    pool: 'forks',
    isolate: false,
    maxWorkers: availableParallelism(),
    testTimeout: 60_000,
    hookTimeout: 60_000,
    restoreMocks: true,
    unstubGlobals: true,
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: [...pipeline, ...doors, ...ownProcess, ...bundle] },
      },
      {
        extends: true,
        test: { name: 'pipeline', include: pipeline, sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: { name: 'doors', include: doors, exclude: [...ownProcess, ...bundle], sequence: { groupOrder: 2 } },
      },
      { extends: true, test: { name: 'own-process', include: ownProcess, isolate: true, sequence: { groupOrder: 2 } } },
      {
        extends: true,
        test: {
          name: 'bundle',
          include: bundle,
          globalSetup: 'test/support/built-bundle.ts',
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
