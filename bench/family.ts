import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { withFolders } from './sides/folders.ts';
import { describeProcessor } from './sides/processor.ts';
import { type Answer, pictures, type Request, type Task, text, texts } from './sides/requests.ts';
import { RunningSide, startAll, stopAll } from './sides/running-side.ts';
import { availableSides, type Folders, type Side } from './sides/side.ts';
import { milliseconds, Table } from './sides/table.ts';
import { alternate, medians, type Turns } from './sides/turns.ts';

/**
 * Compares the other tasks with transformers on torch and with OpenVINO, as bench/compare.ts compares captions: answers of
 * 3 forced tokens, matches, embeddings, one at a time and eight in one request. Also prints a number of each answer, how
 * far an embedding moves when its image is in a batch, and what only this package does.
 *
 *     pip install -r test/fixtures/requirements.txt openvino==2026.4.1 nncf==3.4.0
 *     for size in vqa itm clip-b32 clip-l14; do python bench/make_checkpoint.py FOLDER/$size $size; done
 *     npm run build && npx tsx bench/family.ts FOLDER [--turns 5] [--batch-turns 3] [--only clip-b32]
 */

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    turns: { type: 'string', default: '5' },
    'batch-turns': { type: 'string', default: '3' },
    only: { type: 'string' },
  },
});
const turns = Number(values.turns);
const batchTurns = Number(values['batch-turns']);

interface Kind {
  readonly name: string;
  /** The checkpoint's folder in FOLDER. */
  readonly size: string;
  readonly task: Task;
  readonly one: Request;
  readonly eight: Request;
  /** Which number of an answer is shown: of token ids the first after the start token. */
  readonly shown: number;
}

const image = pictures.slice(0, 1);
const aboutImages = (newTokens: number, questions: readonly string[]) => ({
  one: { images: image, texts: questions, newTokens },
  eight: { images: pictures, texts: questions, newTokens },
});

const kinds: readonly Kind[] = [
  {
    name: 'answer of 3 tokens (vqa-base size)',
    size: 'vqa',
    task: 'question-answering',
    ...aboutImages(3, [text]),
    shown: 1,
  },
  { name: 'match probability (itm-base size)', size: 'itm', task: 'retrieval', ...aboutImages(0, [text]), shown: 0 },
  ...['b32', 'l14'].flatMap((size): readonly Kind[] => {
    const common = { size: `clip-${size}`, task: 'clip', shown: 0 } as const;
    const model = `CLIP ${size.slice(0, 1).toUpperCase()}/${size.slice(1)}`;
    const embedded = { one: { images: [], texts: [text], newTokens: 0 }, eight: { images: [], texts, newTokens: 0 } };
    return [
      { name: `${model}: image`, ...common, ...aboutImages(0, []) },
      { name: `${model}: text`, ...common, ...embedded },
    ];
  }),
];

interface Measured {
  readonly kind: Kind;
  readonly one: Turns<Answer>;
  readonly eight: Turns<Answer>;
  /** By side, for images of CLIP. */
  readonly moved: ReadonlyMap<string, number>;
}

/** The largest difference of an embedding in a batch from that of its image alone, as a share of its largest value. */
async function largestMove(running: RunningSide, { rows }: Answer): Promise<number> {
  const moves: number[] = [];
  for (const [index, path] of pictures.entries()) {
    const alone = (await running.answer({ images: [path], texts: [], newTokens: 0 })).rows[0] ?? [];
    const differences = alone.map((value, place) => Math.abs(value - (rows[index]?.[place] ?? Number.NaN)));
    moves.push(Math.max(...differences) / Math.max(...alone.map(Math.abs)));
  }
  return Math.max(...moves);
}

async function measureMoves(all: readonly RunningSide[], batches: Turns<Answer>): Promise<ReadonlyMap<string, number>> {
  const moved = new Map<string, number>();
  for (const running of all) {
    const answer = batches.get(running.name)?.[0];
    if (answer !== undefined) moved.set(running.name, await largestMove(running, answer));
  }
  return moved;
}

async function measureKind(kind: Kind, all: readonly RunningSide[]): Promise<Measured> {
  for (const running of all) for (const request of [kind.one, kind.eight]) await running.answer(request);
  const one = await alternate(all, turns, (running) => running.answer(kind.one));
  const eight = await alternate(all, batchTurns, (running) => running.answer(kind.eight));
  const embedsImages = kind.task === 'clip' && kind.one.images.length > 0;
  return { kind, one, eight, moved: embedsImages ? await measureMoves(all, eight) : new Map() };
}

function cosine(a: readonly number[], b: readonly number[]): number {
  const product = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, value, place) => sum + value * (y[place] ?? Number.NaN), 0);
  return product(a, b) / Math.sqrt(product(a, a) * product(b, b));
}

/** The least cosine of a side's embeddings with those of the first side, which is torch in float32. */
function leastCosines(batches: Turns<Answer>): ReadonlyMap<string, number> {
  const [[expected] = []] = batches.values();
  const least = (rows: Answer['rows']) =>
    Math.min(...rows.map((row, index) => cosine(row, expected?.rows[index] ?? [])));
  return new Map([...batches].map(([name, [answer]]) => [name, least(answer?.rows ?? [])]));
}

/** All kinds of one checkpoint, whose programs are loaded together. */
async function measureCheckpoint(folder: string, size: string, sides: readonly Side[]): Promise<readonly Measured[]> {
  const ofSize = kinds.filter((kind) => kind.size === size);
  const [{ task } = { task: 'clip' as const }] = ofSize;
  return withFolders(task, join(folder, size), sides, async (folders) => {
    const all = await startAll(sides, task, folders);
    const measured: Measured[] = [];
    for (const kind of ofSize) measured.push(await measureKind(kind, all));
    await stopAll(all);
    return measured;
  });
}

function printSides(sides: readonly Side[], measured: readonly Measured[]): void {
  const columns = sides.map(({ name }) => name);
  const times = new Table(columns);
  for (const { kind, one, eight } of measured) {
    times.times(kind.name, one, ({ ms }) => ms);
    times.times('the same, eight in one request', eight, ({ ms }) => ms);
  }
  console.log();
  const numbers = new Table(columns);
  for (const { kind, one, eight, moved } of measured) {
    const numberOf = ({ rows }: Answer) => rows[0]?.[kind.shown] ?? Number.NaN;
    numbers.numbers(`a number of it: ${kind.name}`, medians(one, numberOf), (value) => value.toPrecision(5));
    if (kind.task === 'clip')
      numbers.numbers("its least cosine with torch's, of eight", leastCosines(eight), (value) => value.toFixed(4));
    if (moved.size > 0)
      numbers.numbers('its largest change in a batch of eight', moved, (value) => value.toExponential(0));
  }
}

/** Five questions about one image, beside one. */
async function questionsBesideOne(running: RunningSide): Promise<number> {
  const five = ['two cats?', 'a picture of the cats?', 'the', 'two cats on the picture of a cat', 'of?'];
  const request: Request = { images: image, texts: five, newTokens: 3 };
  const { ms } = await running.answer({ ...request, texts: [text] });
  return (await running.answer(request)).ms / ms;
}

/** The same checkpoint with its weights in pytorch_model.bin, in a folder of links. */
function asTorchArchive(checkpoint: string): string {
  const folder = join(tmpdir(), 'blip-bench-torch-archive');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const file of readdirSync(checkpoint).filter((name) => name !== 'model.safetensors'))
    symlinkSync(join(checkpoint, file), join(folder, file === 'weights.pt' ? 'pytorch_model.bin' : file));
  return folder;
}

async function modelLoadMs(side: Side, checkpoint: string): Promise<number> {
  const running = await RunningSide.start(side, 'question-answering', {
    checkpoint,
    int8: '',
    calibratedInt8: '',
    openvino: '',
  });
  await running.stop();
  return running.about.modelLoadMs ?? Number.NaN;
}

/** What only this package does, in its default form of float32. */
async function printOurs(side: Side, folders: Folders): Promise<void> {
  const table = new Table([side.name]);
  const all = await startAll([side], 'question-answering', folders);
  for (const running of all) await questionsBesideOne(running);
  const growth = await alternate(all, turns, questionsBesideOne);
  await stopAll(all);
  table.numbers(
    'five questions about one image / one',
    medians(growth, (ratio) => ratio),
    (ratio) => ratio.toFixed(2),
  );
  const sources = [
    { name: 'model.safetensors', checkpoint: folders.checkpoint },
    ...(existsSync(join(folders.checkpoint, 'weights.pt'))
      ? [{ name: 'pytorch_model.bin', checkpoint: asTorchArchive(folders.checkpoint) }]
      : []),
  ];
  const loads = await alternate(sources, turns, ({ checkpoint }) => modelLoadMs(side, checkpoint));
  for (const [name, ms] of medians(loads, (ms) => ms))
    table.row(`model load from ${name}`, new Map([[side.name, milliseconds(ms)]]));
}

/** Checked before the first measurement, because a run takes minutes. */
function requireCheckpoints(folder: string, sizes: readonly string[]): void {
  const absent = sizes.filter((size) => !existsSync(join(folder, size, 'config.json')));
  if (absent.length === 0) return;
  const known = [...new Set(kinds.map(({ size }) => size))].join(', ');
  throw new Error(
    `${folder}: expected a checkpoint in each of the folders ${sizes.join(', ')}, got none in ${absent.join(', ')}. ` +
      `bench/make_checkpoint.py makes them; --only takes one of ${known}.`,
  );
}

const [folder] = positionals;
if (folder === undefined)
  throw new Error('Expected the folder of the checkpoints, got none: npx tsx bench/family.ts FOLDER');
const sizes = values.only === undefined ? [...new Set(kinds.map(({ size }) => size))] : [values.only];
requireCheckpoints(folder, sizes);
console.log(`${describeProcessor()}\n`);
const sides = availableSides();
const measured: Measured[] = [];
for (const size of sizes) measured.push(...(await measureCheckpoint(folder, size, sides)));
printSides(sides, measured);
console.log();
const ours = sides.find(({ isOurs }) => isOurs);
if (ours !== undefined && sizes.includes('vqa'))
  await printOurs(ours, { checkpoint: join(folder, 'vqa'), int8: '', calibratedInt8: '', openvino: '' });
