import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import Handler, { settingsFromEnvironment } from '../app.ts';
import { availableCpus } from '../pipeline/container-limits.ts';
import { batchWindowsMs, type OptimizationGoal, optimizationGoals } from '../pipeline/optimization-goals.ts';
import type { Settings } from '../pipeline/settings.ts';
import { planWorkers } from '../pipeline/worker-plan.ts';

/**
 * Workers against threads: captions a second for eight clients at once, and the time of one caption alone. All settings
 * alternate in one run, each with weights as they are packed in the end. Prints a table of medians.
 *
 *     npx tsx bench/workers.ts CHECKPOINT_FOLDER [TURNS]
 */

const CLIENTS = 8;
const CAPTIONS_PER_CLIENT = 2;
const BATCH_SIZES = [1, 4, 8];

const [folder = '', turns = '3'] = process.argv.slice(2);
if (folder === '') throw new Error('Expected a checkpoint, got none: npx tsx bench/workers.ts CHECKPOINT_FOLDER');
const picture = readFileSync(fileURLToPath(new URL('../test/fixtures/images/chelsea.png', import.meta.url)));
const inputs = { img_url: `data:;base64,${picture.toString('base64')}`, max_new_tokens: 20, min_new_tokens: 20 };

interface Side {
  readonly name: string;
  readonly handler: Handler;
  readonly perSecond: number[];
  readonly aloneMs: number[];
}

function settingsOf(optimizeFor: OptimizationGoal, maxBatchSize: number): Settings {
  const auto = { workerCount: 'auto', threadsPerWorker: 'auto' } as const;
  const chosen = { optimizeFor, batchWindowMs: batchWindowsMs[optimizeFor], maxBatchSize, weights: 'packed' } as const;
  return { ...settingsFromEnvironment(), ...auto, ...chosen, checkpoint: folder, executionProvider: 'cpu' };
}

async function open(goal: OptimizationGoal, maxBatchSize: number): Promise<Side> {
  const handler = new Handler(settingsOf(goal, maxBatchSize));
  await handler.initialize();
  const cpus = { available: availableCpus(), machine: availableParallelism() };
  const { workerCount, threadsPerWorker } = planWorkers(handler.settings, 'cpu', cpus);
  const name = `${goal} | ${workerCount} x ${threadsPerWorker} | ${maxBatchSize}`;
  return { name, handler, perSecond: [], aloneMs: [] };
}

async function timeMs(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

async function measure({ handler, perSecond, aloneMs }: Side): Promise<void> {
  const client = async () => {
    for (let caption = 0; caption < CAPTIONS_PER_CLIENT; caption += 1) await handler.infer(inputs);
  };
  const allMs = await timeMs(() => Promise.all(Array.from({ length: CLIENTS }, client)));
  perSecond.push((CLIENTS * CAPTIONS_PER_CLIENT * 1_000) / allMs);
  aloneMs.push(await timeMs(() => handler.infer(inputs)));
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const sides: Side[] = [];
for (const maxBatchSize of BATCH_SIZES)
  for (const goal of optimizationGoals) sides.push(await open(goal, maxBatchSize));
for (const { handler } of sides) await handler.infer(inputs);
for (let turn = 0; turn < Number(turns); turn += 1)
  for (const side of turn % 2 === 0 ? sides : sides.toReversed()) await measure(side);

console.log('| best for | workers x threads | largest batch | captions a second | one alone |');
console.log('| --- | --- | --- | --- | --- |');
for (const { name, handler, perSecond, aloneMs } of sides) {
  console.log(`| ${name} | ${median(perSecond).toFixed(2)} | ${median(aloneMs).toFixed(0)} ms |`);
  await handler.finalize();
}
