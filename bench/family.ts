import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import Handler, { settingsFromEnvironment } from '../app.ts';
import { withInt8 } from './int8.ts';

/**
 * Compares the other tasks with transformers on torch, in one run: one answer of 3 forced tokens, one match, one embedding.
 * Each program has two threads, the programs alternate, and this package also runs int8 copies. Then it measures five
 * questions about one image, and loading from torch archives. docs/explanation/speed.md has its table.
 *
 *     for size in vqa itm clip-b32 clip-l14; do python bench/make_checkpoint.py FOLDER/$size $size; done
 *     npx tsx bench/family.ts FOLDER
 */

const THREADS = 2;
const PAIRS = 7;

const root = fileURLToPath(new URL('..', import.meta.url));
const image = `${root}test/fixtures/images/chelsea.png`;
const source = `data:;base64,${readFileSync(image).toString('base64')}`;
const text = 'two cats on the picture';
const forced = { max_new_tokens: 3, min_new_tokens: 3 };

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

async function startTorch(task: string, checkpoint: string) {
  const args = [`${root}bench/torch_family.py`, task, checkpoint, image, text, String(THREADS)];
  const child = spawn('python', args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  return {
    async measure() {
      child.stdin.write('\n');
      const [ms = '', first = ''] = String((await lines.next()).value).split(' ');
      return { ms: Number(ms), first: Number(first) };
    },
    stop: () => child.stdin.end(),
  };
}

async function start(checkpoint: string): Promise<Handler> {
  const model = new Handler({ ...settingsFromEnvironment(), checkpoint, threadsPerWorker: THREADS });
  await model.initialize();
  return model;
}

async function measure(model: Handler, inputs: unknown, output: string, place = 0) {
  const startMs = performance.now();
  const { outputs } = await model.inferTensors({ inputs, outputs: [output] });
  return { ms: performance.now() - startMs, first: Number(outputs[0]?.data[place]) };
}

function row(...cells: readonly string[]): void {
  console.log(`| ${cells.join(' | ')} |`);
}

async function compare(
  what: string,
  task: string,
  checkpoint: string,
  [inputs, output, place]: readonly [unknown, string, number?],
): Promise<void> {
  await withInt8(checkpoint, async (int8Checkpoint) => {
    const torch = await startTorch(task, checkpoint);
    const [model, int8Model] = [await start(checkpoint), await start(int8Checkpoint)];
    await torch.measure();
    await measure(model, inputs, output);
    await measure(int8Model, inputs, output);
    type Measured = Awaited<ReturnType<typeof measure>>;
    const turns: { readonly theirs: Measured; readonly ours: Measured; readonly int8: Measured }[] = [];
    for (let turn = 0; turn < PAIRS; turn += 1) {
      const theirs = await torch.measure();
      const ours = await measure(model, inputs, output, place);
      turns.push({ theirs, ours, int8: await measure(int8Model, inputs, output, place) });
    }
    torch.stop();
    await model.finalize();
    await int8Model.finalize();
    const sides = ['theirs', 'ours', 'int8'] as const;
    const [theirs = '', ours = '', int8 = ''] = sides.map(
      (side) => `${median(turns.map((turn) => turn[side].ms)).toFixed(0)} ms`,
    );
    const ratio = (side: 'ours' | 'int8') => median(turns.map((turn) => turn[side].ms / turn.theirs.ms)).toFixed(2);
    const values = sides.map((side) => turns[0]?.[side].first.toPrecision(6)).join(', ');
    row(what, theirs, ours, ratio('ours'), int8, ratio('int8'), values);
  });
}

async function fiveQuestions(checkpoint: string): Promise<void> {
  const model = await start(checkpoint);
  const ask = (questions: readonly string[]) =>
    measure(model, { img_url: source, question: questions, ...forced }, 'answer');
  const five = ['two cats?', 'a picture of the cats?', 'the', 'two cats on the picture of a cat', 'of?'];
  await ask(five);
  const ratios = [];
  for (let pair = 0; pair < PAIRS; pair += 1) ratios.push((await ask(five)).ms / (await ask([text])).ms);
  await model.finalize();
  row('five questions about one image / one question', '', median(ratios).toFixed(2), '', '', '', '');
}

/** Loads the same weights from safetensors and from pytorch_model.bin, alternating. */
async function compareLoads(checkpoint: string): Promise<void> {
  const folder = join(tmpdir(), 'blip-bench-torch-archive');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const file of readdirSync(checkpoint).filter((name) => name !== 'model.safetensors')) {
    symlinkSync(join(checkpoint, file), join(folder, file === 'weights.pt' ? 'pytorch_model.bin' : file));
  }
  const load = async (place: string) => {
    const model = await start(place);
    const modelLoadMs = model.model?.modelLoadMs ?? Number.NaN;
    await model.finalize();
    return modelLoadMs;
  };
  const times = [];
  for (let pair = 0; pair < PAIRS; pair += 1)
    times.push({ safetensors: await load(checkpoint), archive: await load(folder) });
  const [safetensors, archive] = [
    median(times.map((time) => time.safetensors)),
    median(times.map((time) => time.archive)),
  ];
  row(
    'model load, safetensors / pytorch_model.bin',
    '',
    `${safetensors.toFixed(0)} ms / ${archive.toFixed(0)} ms`,
    '',
    '',
    '',
    '',
  );
  rmSync(folder, { recursive: true, force: true });
}

const folder = process.argv[2];
if (folder === undefined)
  throw new Error('Expected the folder of the checkpoints, got none: npx tsx bench/family.ts FOLDER');
row('', 'torch, float32', 'blip-handler, float32', 'ratio', 'blip-handler, int8', 'ratio', 'a number of each');
row(...Array.from({ length: 7 }, () => '---'));
const question = { img_url: source, question: text, ...forced };
await compare('answer, 3 tokens', 'question-answering', join(folder, 'vqa'), [question, 'token_ids', 1]);
await fiveQuestions(join(folder, 'vqa'));
const match = { img_url: source, text };
await compare('match probability', 'retrieval', join(folder, 'itm'), [match, 'match_probability']);
for (const size of ['clip-b32', 'clip-l14']) {
  await compare(`${size}: image`, 'image', join(folder, size), [{ img_url: source }, 'image_embeds']);
  await compare(`${size}: text`, 'text', join(folder, size), [{ text }, 'text_embeds']);
}
await compareLoads(join(folder, 'vqa'));
