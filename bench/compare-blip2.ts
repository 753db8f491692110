import { spawnSync } from 'node:child_process';
import { createReadStream, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { floorMs, type Rates, workOf } from './sides/floors.ts';
import { describeProcessor } from './sides/processor.ts';
import { pictures, type Request, root } from './sides/requests.ts';
import { type Memory, RunningSide, runToEnd } from './sides/running-side.ts';
import { type Folders, ourSide, type Side, torchSide } from './sides/side.ts';
import { milliseconds, Table } from './sides/table.ts';
import { alternate, median, medians, type Turns } from './sides/turns.ts';

/**
 * Compares BLIP-2 of full size with transformers on torch: the table that docs/explanation/speed.md holds. Models of 15 GB
 * do not fit into memory beside each other, so in every turn each program runs alone: it starts, answers once and ends;
 * starts again, and answers questions. Its files are read before, so that no disk is measured where memory holds them.
 *
 *     python bench/make_checkpoint.py FOLDER flan-t5-xl
 *     npm run quantize -- FOLDER FOLDER-int8 && npm run quantize -- FOLDER FOLDER-4-bits --bits 4
 *     npm run build && npx tsx bench/compare-blip2.ts FOLDER [--turns 3] [--only 'torch float32,float32,int8']
 *
 * Answers have 10 forced tokens. FOLDER-int8 and FOLDER-4-bits are left out where they do not exist. PYTHON names another
 * Python than `python`.
 */

const NEW_TOKENS = 10;
const ANSWERS = 3;
const BATCH = 4;
const PROMPT = 'Question: how many cats are there? Answer:';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { turns: { type: 'string', default: '3' }, only: { type: 'string' } },
});
const turns = Number(values.turns);
const [checkpoint] = positionals;
if (checkpoint === undefined)
  throw new Error('Expected a checkpoint, got none: npx tsx bench/compare-blip2.ts CHECKPOINT_FOLDER');

const one: Request = { images: pictures.slice(0, 1), texts: [PROMPT], newTokens: NEW_TOKENS };
const batch: Request = { ...one, images: pictures.slice(0, BATCH) };

/** A program, and the form of the checkpoint that it reads. */
interface Contestant {
  readonly name: string;
  readonly side: Side;
  readonly folder: string;
}

const all: readonly (readonly [side: Side, folder: string])[] = [
  [torchSide('float32'), checkpoint],
  [torchSide('bfloat16'), checkpoint],
  [ourSide('float32', 'checkpoint', 'mapped'), checkpoint],
  [ourSide('int8', 'checkpoint', 'packed'), `${checkpoint}-int8`],
  [ourSide('4 bits', 'checkpoint', 'packed'), `${checkpoint}-4-bits`],
];

function missing({ side, folder }: Contestant): string | undefined {
  return side.missing ?? (existsSync(folder) ? undefined : `there is no ${folder}`);
}

function contestants(): readonly Contestant[] {
  const only = values.only?.split(',');
  const wanted = all
    .map(([side, folder]): Contestant => ({ name: side.name, side, folder }))
    .filter(({ name }) => only === undefined || only.includes(name.replace('blip-handler ', '')));
  for (const contestant of wanted) {
    const reason = missing(contestant);
    if (reason !== undefined) console.log(`${contestant.name} is left out: ${reason}.`);
  }
  return wanted.filter((contestant) => missing(contestant) === undefined);
}

/** Sides of a checkpoint read that alone. */
function foldersOf(folder: string): Folders {
  return { checkpoint: folder, int8: folder, calibratedInt8: folder, openvino: folder };
}

/** Files that fit into memory are there afterwards. */
async function readFiles(folder: string): Promise<void> {
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.safetensors')))
    for await (const _ of createReadStream(join(folder, name), { highWaterMark: 1 << 22 }));
}

interface Figures {
  readonly startMs: number;
  readonly answerMs: number;
  readonly batchMs: number;
  readonly loaded: Memory;
  readonly afterwards: Memory;
  /** The new tokens of the answers, in order. */
  readonly tokenIds: readonly number[];
}

async function measure({ side, folder }: Contestant): Promise<Figures> {
  const folders = foldersOf(folder);
  await readFiles(folder);
  const startMs = await runToEnd(side.captionOnce(folders, one, 'image-text-to-text'));
  await readFiles(folder);
  const running = await RunningSide.start(side, 'image-text-to-text', folders);
  const loaded = running.memory();
  const answers = await answersOf(running);
  const afterwards = running.memory();
  await running.stop();
  return { startMs, ...answers, loaded, afterwards };
}

async function answersOf(running: RunningSide): Promise<Pick<Figures, 'answerMs' | 'batchMs' | 'tokenIds'>> {
  await running.answer(one);
  const times: number[] = [];
  for (let index = 0; index < ANSWERS; index += 1) times.push((await running.answer(one)).ms);
  await running.answer(batch);
  const { ms, rows } = await running.answer(batch);
  const tokenIds = rows.flatMap((row) => row.slice(-NEW_TOKENS));
  return { answerMs: median(times), batchMs: ms, tokenIds };
}

/** Of this machine, by bench/machine.py. */
function machineRates(): Rates | undefined {
  const { stdout } = spawnSync(process.env['PYTHON'] ?? 'python', [`${root}bench/machine.py`], { encoding: 'utf8' });
  const [, gigaflops, gigabytesPerSecond] = /(\d+) GFLOP\/s[\s\S]*?(\d+) GB\/s/.exec(stdout ?? '') ?? [];
  if (gigaflops === undefined) return undefined;
  return { gigaflops: Number(gigaflops), gigabytesPerSecond: Number(gigabytesPerSecond) };
}

/** Tokens of PROMPT in the checkpoints of bench/make_checkpoint.py are about as many as in published ones. */
const PROMPT_TOKENS = 12;

function printFloors(folder: string): void {
  const rates = machineRates();
  if (rates === undefined) return;
  const work = workOf(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')), PROMPT_TOKENS);
  const [single, batched] = [1, BATCH].map((rows) => milliseconds(floorMs(work, rates, rows, NEW_TOKENS)));
  console.log(`\nThis machine multiplies ${rates.gigaflops} GFLOP/s and reads ${rates.gigabytesPerSecond} GB/s.`);
  console.log(`At these rates an answer in float32 takes ${single}, and ${BATCH} in one request ${batched}.`);
}

function equalTokens(figures: Turns<Figures>): ReadonlyMap<string, string> {
  const [[first] = []] = figures.values();
  const expected = first?.tokenIds ?? [];
  const count = (ids: readonly number[]) => ids.filter((id, place) => id === expected[place]).length;
  return new Map([...figures].map(([name, [each]]) => [name, `${count(each?.tokenIds ?? [])} of ${expected.length}`]));
}

const megabytes = (value: number) => `${value.toFixed(0)} MB`;
const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;

function print(figures: Turns<Figures>): void {
  const table = new Table([...figures.keys()]);
  table.times(`answer of ${NEW_TOKENS} tokens`, figures, ({ answerMs }) => answerMs);
  table.times(`${BATCH} images in one request`, figures, ({ batchMs }) => batchMs);
  table.times('process start to first answer', figures, ({ startMs }) => startMs, seconds);
  const memory = (what: string, numberOf: (figure: Figures) => number) =>
    table.numbers(what, medians(figures, numberOf), megabytes);
  memory('private memory after load', ({ loaded }) => loaded.privateMegabytes);
  memory('private memory after answers', ({ afterwards }) => afterwards.privateMegabytes);
  memory('memory with mapped files', ({ afterwards }) => afterwards.residentMegabytes);
  table.row("tokens that equal the first side's", equalTokens(figures));
}

console.log(`${describeProcessor()}\n`);
print(await alternate(contestants(), turns, measure));
printFloors(checkpoint);
