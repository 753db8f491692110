import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import InferlessModel, { settingsFromEnvironment } from '../app.ts';

/**
 * The table of the README: this package beside transformers on torch, in one run, on the same checkpoint and image.
 *
 *     python bench/make_checkpoint.py FOLDER large
 *     npm run build && npx tsx bench/compare.ts FOLDER
 *
 * Captions of 20 forced tokens, two threads each, the two sides by turns. Prints medians and ratios.
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

/** Wall time of a whole process, and what it printed. */
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
  if (exitCode !== 0) throw new Error(`${command} ${args[0]} ended with exit code ${exitCode}.`);
  return { wallMs: performance.now() - startMs, output };
}

/** A transformers process that stays up and captions when asked. */
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

async function startHandler(checkpoint: string): Promise<InferlessModel> {
  const model = new InferlessModel({ ...settingsFromEnvironment(), checkpoint, threadsPerWorker: THREADS });
  await model.initialize();
  return model;
}

interface Timed {
  readonly totalMs: number;
  readonly generateMs: number;
  readonly ids: string;
}

async function caption(model: InferlessModel, text: readonly string[]): Promise<Timed> {
  const startMs = performance.now();
  const { outputs, times } = await model.inferTensors({ img_url: source, text, ...forced }, [
    'generated_output',
    'token_ids',
  ]);
  return { totalMs: performance.now() - startMs, generateMs: times.computeMs, ids: outputs[1]?.data.join(',') ?? '' };
}

/** Anonymous memory of a process that has loaded the checkpoint and done nothing else, with its load time. */
async function measureLoad(
  checkpoint: string,
): Promise<{ loadMs: number; modelLoadMs: number; anonymousMegabytes: number }> {
  const script = `
    import InferlessModel, { settingsFromEnvironment } from '${root}dist/app.js';
    import { readFileSync } from 'node:fs';
    const model = new InferlessModel({ ...settingsFromEnvironment(), checkpoint: '${checkpoint}' });
    await model.initialize();
    const anonymous = Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
    const { loadMs, modelLoadMs } = model.model;
    console.log(JSON.stringify({ loadMs, modelLoadMs, anonymousMegabytes: anonymous / 1000 }));
    await model.finalize();`;
  const { output } = await runProcess(process.execPath, ['--input-type=module', '-e', script]);
  return JSON.parse(output);
}

function row(what: string, ours: string, torch: string, ratio: string): void {
  console.log(`| ${what} | ${ours} | ${torch} | ${ratio} |`);
}

function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}

async function compareCaptions(checkpoint: string): Promise<void> {
  const [torch, model] = [await startTorch(checkpoint), await startHandler(checkpoint)];
  await torch.caption();
  await caption(model, ['']);
  const pairs: { torchMs: number; ours: Timed; sameIds: boolean }[] = [];
  for (let pair = 0; pair < PAIRS; pair += 1) {
    const theirs = await torch.caption();
    const ours = await caption(model, ['']);
    pairs.push({ torchMs: theirs.ms, ours, sameIds: theirs.ids === ours.ids });
  }
  torch.stop();
  const four: number[] = [];
  for (let run = 0; run < PAIRS; run += 1) {
    const one = await caption(model, ['a picture of']);
    four.push((await caption(model, prompts)).totalMs / one.totalMs);
  }
  await model.finalize();
  const oursMs = median(pairs.map(({ ours }) => ours.totalMs));
  const torchMs = median(pairs.map((pair) => pair.torchMs));
  const outside = median(pairs.map(({ ours }) => (ours.totalMs - ours.generateMs) / ours.totalMs));
  row(
    'caption, 20 tokens',
    ms(oursMs),
    ms(torchMs),
    median(pairs.map((pair) => pair.ours.totalMs / pair.torchMs)).toFixed(2),
  );
  row('token ids equal', `${pairs.filter(({ sameIds }) => sameIds).length} of ${PAIRS}`, '', '');
  row('outside `session.run()`', `${(100 * outside).toFixed(1)} %`, '', '');
  row('four prompts about one image / one prompt', median(four).toFixed(2), '', '');
}

async function compareStarts(checkpoint: string): Promise<void> {
  const ours: number[] = [];
  const torch: number[] = [];
  const args = ['--checkpoint', checkpoint, '--img_url', image, '--parameters', JSON.stringify(forced)];
  for (let start = 0; start < STARTS; start += 1) {
    torch.push(
      (await runProcess('python', [`${root}bench/torch_caption.py`, checkpoint, image, String(THREADS), 'once']))
        .wallMs,
    );
    ours.push((await runProcess(process.execPath, [`${root}dist/invoke.js`, ...args])).wallMs);
  }
  row('process start to first caption', ms(median(ours)), ms(median(torch)), (median(ours) / median(torch)).toFixed(2));
}

const checkpoint = process.argv[2];
if (checkpoint === undefined) throw new Error('Usage: npx tsx bench/compare.ts CHECKPOINT_FOLDER');
console.log('| | blip-handler | transformers on torch | ratio |\n| --- | --- | --- | --- |');
await compareCaptions(checkpoint);
await compareStarts(checkpoint);
const loads = [await measureLoad(checkpoint), await measureLoad(checkpoint), await measureLoad(checkpoint)];
row('model load: graph, weights, session', ms(median(loads.map(({ modelLoadMs }) => modelLoadMs))), '', '');
row('`initialize()`, with threads and imports', ms(median(loads.map(({ loadMs }) => loadMs))), '', '');
row(
  'anonymous memory after it',
  `${median(loads.map(({ anonymousMegabytes }) => anonymousMegabytes)).toFixed(0)} MB`,
  '',
  '',
);
