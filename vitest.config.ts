import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/**
 * The projects of the suite, and the files of each. A file that no list names belongs to `unit`: pure code and small
 * graphs, quick enough to run at each save.
 */

/** Programs of dist/ as processes. */
const bundle = ['test/handlers/command-line/**/*.test.ts', 'test/**/*bundle.test.ts'];
/** These files measure time or memory: each has a process of its own, and no other test runs at the same time. */
const measured = ['test/**/*-measured.test.ts'];
/** Servers, and the function of AWS Lambda. */
const doors = ['test/handlers/**/*.test.ts'];
/** The running model: worker threads, images from the network, downloads. */
const pipeline = [
  'test/app.test.ts',
  'test/checkpoint/{hub,merge,quantize}/**/*.test.ts',
  'test/pipeline/!(settings).test.ts',
  'test/pipeline/{cuda,images,sessions,tasks,workers}/**/*.test.ts',
];

export default defineConfig({
  test: {
    // Processes, not threads: some tests change the working directory, and no thread may end while onnxruntime computes
    // in it. Each process runs many files, so that native code and the sources are loaded once.
    pool: 'forks',
    isolate: false,
    maxWorkers: availableParallelism(), // Left alone, vitest keeps one core free: on two cores it uses one.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    setupFiles: 'test/support/clean-up.ts',
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [...pipeline, ...doors, ...measured, ...bundle],
        },
      },
      {
        extends: true,
        test: { name: 'pipeline', include: pipeline, exclude: measured, sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: { name: 'doors', include: doors, exclude: [...measured, ...bundle], sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: {
          name: 'bundle',
          include: bundle,
          globalSetup: 'test/support/built-bundle.ts',
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'measured',
          include: measured,
          globalSetup: 'test/support/built-bundle.ts',
          isolate: true,
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
