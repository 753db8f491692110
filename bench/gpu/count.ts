import { parseArgs } from 'node:util';
import type { GraphOptions } from '../../models/module.ts';
import type { GenerationRequest, PretendRun } from './pretend-card/run.ts';
import { type Counts, copyNodes, hasPretendCard, moreOf, total, traceRun } from './pretend-card/trace.ts';

/**
 * Counts what a token and a layer cost a GPU, on the pretend card:
 *
 *     bash bench/gpu/pretend-card/fetch.sh
 *     npx tsx bench/gpu/count.ts [--form plain|lean] [--precision float32|float16|bfloat16] [--rows 1] [CHECKPOINT]
 *
 * A token is the difference between runs of 5 and 6 iterations. Without CHECKPOINT it is one of a model with the layers of
 * BLIP-large, whose heads have the size of BLIP-large's, and which is narrower: a checkpoint of this repository, its layers
 * repeated.
 */

const LARGE: Pick<PretendRun, 'checkpoint' | 'imageSize' | 'layers'> = {
  checkpoint: 'checkpoints/scenes-captioning',
  imageSize: 384,
  layers: { vision: 24, text: 12 },
};

/** What a token costs that greedy search, or another search, generates for each of some rows. */
export function countToken(
  graph: GraphOptions,
  request: Omit<GenerationRequest, 'kind'> = { promptLengths: [0] },
  model: Pick<PretendRun, 'checkpoint' | 'imageSize' | 'layers'> = LARGE,
): Counts {
  const run = { ...model, graph, requests: [{ kind: 'generation' as const, ...request }] };
  return moreOf(traceRun(run, { loops: 5 }).counts, traceRun(run, { loops: 6 }).counts);
}

/** What a layer of the vision tower costs. Copies to the card are left out: those are of its weights, when it is loaded. */
export function countVisionLayer(graph: GraphOptions): Counts {
  const requests: readonly GenerationRequest[] = [{ kind: 'generation', promptLengths: [0] }];
  const counts = (vision: number) =>
    traceRun({ ...LARGE, layers: { vision, text: 1 }, graph, requests }, { loops: 1 }).counts;
  return new Map([...moreOf(counts(2), counts(3))].filter(([key]) => !key.startsWith('to the card')));
}

function table(counts: Counts): string {
  const rows = [...counts].sort(([, a], [, b]) => b - a);
  return rows.map(([key, count]) => `${String(count).padStart(5)}  ${key.replace('\t', '  ')}`).join('\n');
}

function summary(title: string, counts: Counts): string {
  return `${title}: ${total(counts)} operations, ${total(counts, 'to the host')} of them reads by the host\n${table(counts)}\n`;
}

const forms = ['plain', 'lean'] as const;
const precisions = ['float32', 'float16', 'bfloat16'] as const;

function choose<T extends string>(text: string, choices: readonly T[]): T {
  const choice = choices.find((each) => each === text);
  if (choice === undefined) throw new Error(`Expected one of ${choices.join(', ')}, got ${text}.`);
  return choice;
}

function main(): void {
  const { values, positionals } = parseArgs({
    options: {
      form: { type: 'string', default: 'lean' },
      precision: { type: 'string', default: 'float16' },
      rows: { type: 'string', default: '1' },
    },
    allowPositionals: true,
  });
  if (!hasPretendCard()) throw new Error('Expected a pretend card; run bash bench/gpu/pretend-card/fetch.sh first.');
  const graph = { form: choose(values.form, forms), precision: choose(values.precision, precisions) };
  if (!/^[1-9]\d{0,2}$/.test(values.rows)) throw new Error(`Expected rows from 1 to 999, got ${values.rows}.`);
  const promptLengths = Array.from({ length: Number(values.rows) }, () => 0);
  const [checkpoint] = positionals;
  const model = checkpoint === undefined ? LARGE : { checkpoint };
  const token = countToken(graph, { promptLengths }, model);
  console.log(summary(`A token of ${values.rows} rows, ${values.form}, ${values.precision}`, token));
  console.log(summary(`A layer of the vision tower, ${values.form}, ${values.precision}`, countVisionLayer(graph)));
  const run: PretendRun = { ...model, graph, requests: [{ kind: 'generation', promptLengths }] };
  console.log('Memcpy nodes, by graph:');
  for (const [name, count] of copyNodes(traceRun(run, { loops: 1, logsPlacements: true })))
    console.log(`${String(count).padStart(5)}  ${name}`);
}

if (process.argv[1] === import.meta.filename) main();
