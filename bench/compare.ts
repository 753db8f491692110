import { parseArgs } from 'node:util';
import { withFolders } from './sides/folders.ts';
import { describeProcessor } from './sides/processor.ts';
import { type Answer, pictures, type Request } from './sides/requests.ts';
import { type About, type Memory, RunningSide, runToEnd, startAll, stopAll } from './sides/running-side.ts';
import { availableSides, type Folders, type Side } from './sides/side.ts';
import { milliseconds, Table } from './sides/table.ts';
import { alternate, medians, type Turns } from './sides/turns.ts';

/**
 * Compares captions of this package with transformers on torch and with OpenVINO, in one run that alternates between the
 * programs. Prints the processor and two Markdown tables, which docs/explanation/speed.md holds: medians, and in brackets
 * the median of the ratios to torch in float32. Programs that are not installed are left out.
 *
 *     pip install -r test/fixtures/requirements.txt openvino==2026.4.1 nncf==3.4.0
 *     python bench/make_checkpoint.py FOLDER large
 *     npm run build && npx tsx bench/compare.ts FOLDER [--turns 5] [--batch-turns 3] [--starts 3]
 *
 * Captions have 20 forced tokens. PYTHON names another Python than `python`.
 */

const NEW_TOKENS = 20;
const FEW_TOKENS = 4;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    turns: { type: 'string', default: '5' },
    'batch-turns': { type: 'string', default: '3' },
    starts: { type: 'string', default: '3' },
  },
});
const turns = Number(values.turns);
const batchTurns = Number(values['batch-turns']);
const starts = Number(values.starts);

const one: Request = { images: pictures.slice(0, 1), texts: [], newTokens: NEW_TOKENS };
const batch: Request = { ...one, images: pictures };
const prompts: Request = { ...one, texts: ['', 'a picture of', 'a photography of two cats', 'the'] };
const onePrompt: Request = { ...one, texts: ['a picture of'] };

interface Caption {
  readonly ms: number;
  /** What each further token adds. */
  readonly tokenMs: number;
  /** The share of the time that is not the computation. */
  readonly outside: number;
  readonly ids: string;
}

async function caption(running: RunningSide): Promise<Caption> {
  const { ms, computeMs = ms, rows } = await running.answer(one);
  const few = await running.answer({ ...one, newTokens: FEW_TOKENS });
  const tokenMs = (ms - few.ms) / (NEW_TOKENS - FEW_TOKENS);
  return { ms, tokenMs, outside: (ms - computeMs) / ms, ids: rows.join() };
}

async function promptsBesideOne(running: RunningSide): Promise<number> {
  const { ms } = await running.answer(onePrompt);
  return (await running.answer(prompts)).ms / ms;
}

interface Captions {
  readonly captions: Turns<Caption>;
  readonly memory: ReadonlyMap<string, Memory>;
  readonly batches: Turns<Answer>;
  /** Of this package: four prompts about one image, beside one. */
  readonly growth: Turns<number>;
  readonly abouts: ReadonlyMap<string, About>;
}

/** Captions of one image, then of eight at once, while all programs are loaded. */
async function measureCaptions(sides: readonly Side[], folders: Folders): Promise<Captions> {
  const all = await startAll(sides, 'captioning', folders);
  for (const running of all) await running.answer(one);
  const captions = await alternate(all, turns, caption);
  const memory = new Map(all.map((running) => [running.name, running.memory()]));
  for (const running of all) await running.answer({ ...batch, newTokens: FEW_TOKENS });
  const batches = await alternate(all, batchTurns, (running) => running.answer(batch));
  const ours = all.filter(({ side }) => side.isOurs);
  const growth = await alternate(ours, turns, promptsBesideOne);
  await stopAll(all);
  return { captions, memory, batches, growth, abouts: new Map(all.map(({ name, about }) => [name, about])) };
}

interface Load {
  readonly about: About;
  readonly memory: Memory;
}

/** A process that has only loaded the checkpoint. */
async function load(side: Side, folders: Folders): Promise<Load> {
  const running = await RunningSide.start(side, 'captioning', folders);
  const memory = running.memory();
  await running.stop();
  return { about: running.about, memory };
}

/** How many captions of each float32 side have the token ids of the first one, which is torch in float32. */
function equalIds(sides: readonly Side[], captions: Turns<Caption>): ReadonlyMap<string, string> {
  const [expected = []] = captions.values();
  const count = (figures: readonly Caption[]) => figures.filter(({ ids }, turn) => ids === expected[turn]?.ids).length;
  // Random weights repeat one token, in bfloat16 and int8 as in float32, so equal ids would say nothing about those.
  const compared = sides.slice(1).filter(({ isFloat32 }) => isFloat32);
  return new Map(compared.map(({ name }) => [name, `${count(captions.get(name) ?? [])} of ${turns}`]));
}

const megabytes = (value: number) => `${value.toFixed(0)} MB`;
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;

function mapValues<T>(map: ReadonlyMap<string, T>, shown: (value: T) => string): ReadonlyMap<string, string> {
  return new Map([...map].map(([name, value]) => [name, shown(value)]));
}

function printSides(sides: readonly Side[], measured: Captions, startTimes: Turns<number>): void {
  const { captions, memory, batches, abouts } = measured;
  const perSecond = (ms: number) => ((1000 * pictures.length) / ms).toFixed(2);
  const table = new Table(sides.map(({ name }) => name));
  table.row(
    'computes in',
    mapValues(abouts, ({ precision }) => precision),
  );
  table.times(`caption, ${NEW_TOKENS} tokens`, captions, ({ ms }) => ms);
  table.times('each further token', captions, ({ tokenMs }) => tokenMs);
  table.times(`${pictures.length} images in one request`, batches, ({ ms }) => ms);
  table.numbers(
    'the same, images a second',
    medians(batches, ({ ms }) => ms),
    perSecond,
  );
  table.times('process start to first caption', startTimes, (ms) => ms, seconds);
  table.row(
    'private memory after captions',
    mapValues(memory, ({ privateMegabytes }) => megabytes(privateMegabytes)),
  );
  table.row(
    'memory with mapped files',
    mapValues(memory, ({ residentMegabytes }) => megabytes(residentMegabytes)),
  );
  table.row("token ids equal torch's", equalIds(sides, captions));
}

function printOurs(ours: readonly Side[], { captions, growth }: Captions, loads: Turns<Load>): void {
  const table = new Table(ours.map(({ name }) => name));
  const load = (numberOf: (load: Load) => number) => medians(loads, numberOf);
  table.numbers(
    'outside `session.run()`',
    medians(captions, ({ outside }) => outside),
    percent,
  );
  table.numbers(
    'four prompts about one image / one prompt',
    medians(growth, (ratio) => ratio),
    (ratio) => ratio.toFixed(2),
  );
  table.numbers(
    'model load: graph, weights, session',
    load(({ about }) => about.modelLoadMs ?? Number.NaN),
    milliseconds,
  );
  table.numbers(
    '`initialize()`, with threads and imports',
    load(({ about }) => about.loadMs ?? Number.NaN),
    milliseconds,
  );
  table.numbers(
    'private memory after `initialize()`',
    load(({ memory }) => memory.privateMegabytes),
    megabytes,
  );
}

const [checkpoint] = positionals;
if (checkpoint === undefined)
  throw new Error('Expected a checkpoint, got none: npx tsx bench/compare.ts CHECKPOINT_FOLDER');
console.log(`${describeProcessor()}\n`);
const sides = availableSides();
await withFolders('captioning', checkpoint, sides, async (folders) => {
  const measured = await measureCaptions(sides, folders);
  const startTimes = await alternate(sides, starts, (side) => runToEnd(side.captionOnce(folders, one)));
  const ours = sides.filter(({ isOurs }) => isOurs);
  const loads = await alternate(ours, starts, (side) => load(side, folders));
  printSides(sides, measured, startTimes);
  console.log();
  printOurs(ours, measured, loads);
});
