import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import Handler, { settingsFromEnvironment } from '../app.ts';
import { withInt8 } from './int8.ts';

/**
 * Compares this package with transformers on torch, in one run, on the same checkpoint and image; also with an int8 copy of
 * the checkpoint. docs/explanation/speed.md has its table.
 *
 *     python bench/make_checkpoint.py FOLDER large
 *     npm run build && npx tsx bench/compare.ts FOLDER
 *
 * Captions have 20 forced tokens, each program has two threads, and the programs alternate. Prints medians, and ratios to
 * torch.
 */

const THREADS = 2;
const PAIRS = 5;
const STARTS = 3;

const root = fileURLToPath(new URL('..', import.meta.url));
const image = `${root}test/fixtures/images/chelsea.png`;
const source = `data:;base64,${readFileSync(image).toString('base64')}`;
const forced = { max_new_tokens: 20, min_new_tokens: 20 };
const prompts = ['', 'a picture of', 'a photography of two cats', 'the'];

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Runs a process to its end; returns its wall time and its output. */
async function runProcess(command: string, args: readonly string[]): Promise<{ wallMs: number; output: string }> {
  const startMs = performance.now();
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, BLIP_THREADS: String(THREADS), HF_HUB_OFFLINE: '1' },
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  const exitCode = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  if (exitCode !== 0) throw new Error(`Expected ${command} ${args[0]} to succeed, got exit code ${exitCode}.`);
  return { wallMs: performance.now() - startMs, output };
}

/** Starts a transformers process that stays up and captions on request. */
async function startTorch(
  checkpoint: string,
): Promise<{ caption(): Promise<{ ms: number; ids: string }>; stop(): void }> {
  const child = spawn('python', [`${root}bench/torch_caption.py`, checkpoint, image, String(THREADS), 'serve'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  return {
    async caption() {
      child.stdin.write('\n');
      const [ms = '', ids = ''] = String((await lines.next()).value).split(' ');
      return { ms: Number(ms), ids };
    },
    stop: () => child.stdin.end(),
  };
}

async function startHandler(checkpoint: string): Promise<Handler> {
  const model = new Handler({ ...settingsFromEnvironment(), checkpoint, threadsPerWorker: THREADS });
  await model.initialize();
  return model;
}

interface Timed {
  readonly totalMs: number;
  readonly generateMs: number;
  readonly ids: string;
}

async function caption(model: Handler, text: readonly string[]): Promise<Timed> {
  const startMs = performance.now();
  const { outputs, times } = await model.inferTensors({
    inputs: { img_url: source, text, ...forced },
    outputs: ['generated_output', 'token_ids'],
  });
  return { totalMs: performance.now() - startMs, generateMs: times.computeMs, ids: outputs[1]?.data.join(',') ?? '' };
}

/** Private memory and load time of a process that has only loaded the checkpoint. */
async function measureLoad(
  checkpoint: string,
): Promise<{ loadMs: number; modelLoadMs: number; anonymousMegabytes: number }> {
  const script = `
    import Handler, { settingsFromEnvironment } from '${root}dist/app.js';
    import { readFileSync } from 'node:fs';
    const model = new Handler({ ...settingsFromEnvironment(), checkpoint: '${checkpoint}' });
    await model.initialize();
    const anonymous = Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
    const { loadMs, modelLoadMs } = model.model;
    console.log(JSON.stringify({ loadMs, modelLoadMs, anonymousMegabytes: anonymous / 1000 }));
    await model.finalize();`;
  const { output } = await runProcess(process.execPath, ['--input-type=module', '-e', script]);
  return JSON.parse(output);
}

interface Cells {
  readonly torch?: string;
  readonly float32: string;
  readonly int8: string;
  readonly ratios?: readonly [float32: number, int8: number];
}

function row(what: string, { torch = '', float32, int8, ratios }: Cells): void {
  const [float32Ratio = '', int8Ratio = ''] = ratios?.map((ratio) => ratio.toFixed(2)) ?? [];
  console.log(`| ${[what, torch, float32, float32Ratio, int8, int8Ratio].join(' | ')} |`);
}

function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}

interface Turn {
  readonly torchMs: number;
  readonly torchIds: string;
  readonly float32: Timed;
  readonly int8: Timed;
}

/** The median of one number over all turns. */
function medianOf<T>(turns: readonly T[], numberOf: (turn: T) => number): number {
  return median(turns.map(numberOf));
}

async function compareCaptions(checkpoint: string, int8Checkpoint: string): Promise<void> {
  const torch = await startTorch(checkpoint);
  const models = { float32: await startHandler(checkpoint), int8: await startHandler(int8Checkpoint) };
  await torch.caption();
  await caption(models.float32, ['']);
  await caption(models.int8, ['']);
  const turns: Turn[] = [];
  for (let turn = 0; turn < PAIRS; turn += 1) {
    const { ms: torchMs, ids: torchIds } = await torch.caption();
    turns.push({
      torchMs,
      torchIds,
      float32: await caption(models.float32, ['']),
      int8: await caption(models.int8, ['']),
    });
  }
  torch.stop();
  row('caption, 20 tokens', {
    torch: ms(medianOf(turns, ({ torchMs }) => torchMs)),
    float32: ms(medianOf(turns, ({ float32 }) => float32.totalMs)),
    int8: ms(medianOf(turns, ({ int8 }) => int8.totalMs)),
    ratios: [
      medianOf(turns, ({ float32, torchMs }) => float32.totalMs / torchMs),
      medianOf(turns, ({ int8, torchMs }) => int8.totalMs / torchMs),
    ],
  });
  // Random weights repeat one token, in int8 as in float32, so equal ids would say nothing about int8.
  const equal = turns.filter(({ float32, torchIds }) => float32.ids === torchIds).length;
  row("token ids are torch's", { float32: `${equal} of ${PAIRS}`, int8: '' });
  const outside = (side: 'float32' | 'int8') =>
    medianOf(turns, (turn) => (turn[side].totalMs - turn[side].generateMs) / turn[side].totalMs);
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  row('outside `session.run()`', { float32: percent(outside('float32')), int8: percent(outside('int8')) });
  row('four prompts about one image / one prompt', {
    float32: (await fourPrompts(models.float32)).toFixed(2),
    int8: (await fourPrompts(models.int8)).toFixed(2),
  });
  await models.float32.finalize();
  await models.int8.finalize();
}

async function fourPrompts(model: Handler): Promise<number> {
  const ratios: number[] = [];
  for (let run = 0; run < PAIRS; run += 1) {
    const one = await caption(model, ['a picture of']);
    ratios.push((await caption(model, prompts)).totalMs / one.totalMs);
  }
  return median(ratios);
}

async function compareStarts(checkpoint: string, int8Checkpoint: string): Promise<void> {
  const ours = async (folder: string) => {
    const args = ['--checkpoint', folder, '--img_url', image, '--parameters', JSON.stringify(forced)];
    return (await runProcess(process.execPath, [`${root}dist/invoke.js`, ...args])).wallMs;
  };
  const theirs = [`${root}bench/torch_caption.py`, checkpoint, image, String(THREADS), 'once'];
  const turns: { readonly torchMs: number; readonly float32Ms: number; readonly int8Ms: number }[] = [];
  for (let start = 0; start < STARTS; start += 1) {
    const torchMs = (await runProcess('python', theirs)).wallMs;
    turns.push({ torchMs, float32Ms: await ours(checkpoint), int8Ms: await ours(int8Checkpoint) });
  }
  row('process start to first caption', {
    torch: ms(medianOf(turns, ({ torchMs }) => torchMs)),
    float32: ms(medianOf(turns, ({ float32Ms }) => float32Ms)),
    int8: ms(medianOf(turns, ({ int8Ms }) => int8Ms)),
    ratios: [
      medianOf(turns, ({ float32Ms, torchMs }) => float32Ms / torchMs),
      medianOf(turns, ({ int8Ms, torchMs }) => int8Ms / torchMs),
    ],
  });
}

async function compareLoads(checkpoint: string, int8Checkpoint: string): Promise<void> {
  type Load = Awaited<ReturnType<typeof measureLoad>>;
  const loads: { readonly float32: Load; readonly int8: Load }[] = [];
  for (let load = 0; load < STARTS; load += 1)
    loads.push({ float32: await measureLoad(checkpoint), int8: await measureLoad(int8Checkpoint) });
  const cells = (numberOf: (load: Load) => number, shown: (value: number) => string) => ({
    float32: shown(medianOf(loads, ({ float32 }) => numberOf(float32))),
    int8: shown(medianOf(loads, ({ int8 }) => numberOf(int8))),
  });
  row(
    'model load: graph, weights, session',
    cells(({ modelLoadMs }) => modelLoadMs, ms),
  );
  row(
    '`initialize()`, with threads and imports',
    cells(({ loadMs }) => loadMs, ms),
  );
  const megabytes = (value: number) => `${value.toFixed(0)} MB`;
  row(
    'anonymous memory after it',
    cells(({ anonymousMegabytes }) => anonymousMegabytes, megabytes),
  );
}

const checkpoint = process.argv[2];
if (checkpoint === undefined)
  throw new Error('Expected a checkpoint, got none: npx tsx bench/compare.ts CHECKPOINT_FOLDER');
console.log(
  '| | torch, float32 | blip-handler, float32 | ratio | blip-handler, int8 | ratio |\n| --- | --- | --- | --- | --- | --- |',
);
await withInt8(checkpoint, async (int8Checkpoint) => {
  await compareCaptions(checkpoint, int8Checkpoint);
  await compareStarts(checkpoint, int8Checkpoint);
  await compareLoads(checkpoint, int8Checkpoint);
});
