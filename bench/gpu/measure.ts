import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import type { Task } from '../../checkpoint/config/architectures.ts';
import { captionWork } from './caption-work.ts';
import { compareScenes } from './scenes.ts';

/**
 * Measures the bundle on a CUDA card. prepare.sh turns this file into bench/measure.js beside dist/, where it needs
 * neither a network nor tsx.
 *
 *     node bench/measure.js probe                        one caption on the card, or the reason why there is none
 *     node bench/measure.js parity PRECISION             every small checkpoint on both providers: where they differ
 *     node bench/measure.js scenes                       captions and answers about drawn scenes in each precision
 *     node bench/measure.js speed CHECKPOINT [PROVIDER] [PRECISION]  milliseconds at batch 1, 8 and 32
 *     node bench/measure.js start CHECKPOINT [PROVIDER] [PRECISION]  process start to first caption, load time, memory
 *     node bench/measure.js placement CHECKPOINT cuda [PRECISION]    nodes on the CPU, Memcpy nodes, and a profile
 *
 * Each number is one line of JSON on stdout; progress goes to stderr.
 */

type Provider = 'cpu' | 'cuda';
type Precision = 'float32' | 'float16' | 'bfloat16';
type Inputs = Readonly<Record<string, unknown>>;
type Tensors = Readonly<Record<string, readonly unknown[]>>;

const root = fileURLToPath(new URL('..', import.meta.url));
const self = fileURLToPath(import.meta.url);
const { default: Handler, settingsFromEnvironment }: typeof import('../../app.ts') = await import(`${root}dist/app.js`);
type RunningHandler = InstanceType<typeof Handler>;

const picture = `data:;base64,${readFileSync(`${root}bench/chelsea.png`).toString('base64')}`;
const shipped = `${root}dist/checkpoints/scenes-captioning`;
const forced = { max_new_tokens: 20, min_new_tokens: 20 };
const batchSizes = (process.env['BATCHES'] ?? '1,8,32').split(',').map(Number);
const secondsPerBatch = Number(process.env['SECONDS_PER_BATCH'] ?? 6);

function report(values: Readonly<Record<string, unknown>>): void {
  const card = process.env['CARD'];
  console.log(JSON.stringify({ card, tf32: process.env['NVIDIA_TF32_OVERRIDE'] !== '0', ...values }));
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function shortError(error: unknown): string {
  return String(error).slice(0, 500);
}

async function start(checkpoint: string, executionProvider: Provider, precision: Precision): Promise<RunningHandler> {
  const handler = new Handler({
    ...settingsFromEnvironment(),
    checkpoint,
    executionProvider,
    precision,
    workerCount: 1,
    maxBatchSize: Math.max(...batchSizes),
    batchWindowMs: 0,
  });
  await handler.initialize();
  return handler;
}

async function ask(handler: RunningHandler, inputs: Inputs, names: readonly string[]): Promise<Tensors> {
  const { outputs } = await handler.inferTensors({ inputs, outputs: names });
  return Object.fromEntries(outputs.map(({ name, data }) => [name, [...data]]));
}

/** Bytes that look random and are equal on every machine. */
function repeatableBytes(count: number, seed: number): Buffer {
  let state = seed;
  const next = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 16) & 255;
  };
  return Buffer.from(Array.from({ length: count }, next));
}

/** Different pictures of the size that the model expects, so that nothing is resized. */
async function pictures(count: number, side: number): Promise<readonly string[]> {
  const raw = { width: 12, height: 12, channels: 3 } as const;
  const draw = async (_: unknown, index: number) => {
    const coarse = repeatableBytes(raw.width * raw.height * raw.channels, index + 1);
    const png = await sharp(coarse, { raw }).resize(side, side).png().toBuffer();
    return `data:;base64,${png.toString('base64')}`;
  };
  return await Promise.all(Array.from({ length: count }, draw));
}

async function probe(): Promise<void> {
  for (const precision of ['float32', 'float16', 'bfloat16'] as const) {
    const handler = await start(shipped, 'cuda', precision);
    const { generated_output: texts } = await ask(handler, { img_url: picture }, ['generated_output']);
    await handler.finalize();
    report({ what: 'probe', precision, caption: texts?.[0] });
  }
}

/** Requests that together reach every branch of a task's graphs, and the outputs to compare. */
interface ParityRequests {
  readonly requests: Readonly<Record<string, Inputs>>;
  readonly outputs: readonly string[];
}

const parityRequests: Readonly<Record<Task, ParityRequests>> = {
  captioning: {
    requests: {
      greedy: { img_url: picture, text: '' },
      'prompts of three lengths': { img_url: picture, text: ['a picture of', 'two', ''] },
      'beams of 3': { img_url: picture, text: '', num_beams: 3, num_return_sequences: 3 },
      'early stopping': { img_url: picture, text: '', num_beams: 3, early_stopping: 'true', length_penalty: 2 },
      processors: { img_url: picture, text: '', repetition_penalty: 1.5, no_repeat_ngram_size: 2, min_new_tokens: 8 },
      sampling: {
        img_url: picture,
        text: '',
        do_sample: true,
        seed: 7,
        top_k: 20,
        top_p: 0.9,
        min_p: 0.02,
        num_return_sequences: 3,
      },
      'sampling everything': { img_url: picture, text: '', do_sample: true, seed: 7, top_k: 0, temperature: 0.7 },
      'sampled beams': { img_url: picture, text: '', do_sample: true, seed: 7, num_beams: 3 },
    },
    outputs: ['token_ids', 'token_logprobs', 'generated_output'],
  },
  'question-answering': {
    requests: {
      greedy: { img_url: picture, question: ['what is this', 'how many cats are there on the table'] },
      'beams of 3': { img_url: picture, question: 'what is this', num_beams: 3 },
      ranking: {
        img_url: picture,
        question: ['what is this'],
        candidates: ['a cat', 'two dogs', 'an apple on a table'],
      },
    },
    outputs: ['token_ids', 'token_logprobs'],
  },
  'image-text-to-text': {
    requests: {
      greedy: { img_url: picture },
      'prompts of three lengths': { img_url: picture, text: ['a picture of', 'two', ''] },
      'beams of 3': { img_url: picture, question: 'how many cats are there?', num_beams: 3 },
    },
    outputs: ['token_ids', 'token_logprobs'],
  },
  retrieval: {
    requests: {
      match: { img_url: picture, text: ['a cat', 'two dogs on a table'] },
      pictures: { img_url: [picture, picture], text: ['a cat', 'a dog'] },
    },
    outputs: ['match_probability', 'cosine_similarity', 'image_embeds', 'text_embeds'],
  },
  clip: {
    requests: {
      image: { img_url: picture },
      text: { text: ['a cat', 'a longer text about two dogs'] },
      rank: { img_url: picture, text: ['a cat', 'a dog'] },
    },
    outputs: ['image_embeds', 'text_embeds', 'cosine_similarity', 'probability'],
  },
};

interface Difference {
  /** Token ids and texts that are not equal, and values that only one answer has. */
  readonly tokensDiffer: number;
  /** Pairs of numbers without a difference, because one of them is NaN or infinite. */
  readonly notComparable: number;
  /** The largest difference of all other numbers. */
  readonly largest: number;
}

function difference(one: Tensors, other: Tensors): Difference {
  let [tokensDiffer, notComparable, largest] = [0, 0, 0];
  for (const [name, values] of Object.entries(one)) {
    const others = other[name] ?? [];
    tokensDiffer += Math.abs(values.length - others.length);
    for (const [index, value] of values.slice(0, others.length).entries()) {
      if (value === others[index]) continue;
      const distance = Math.abs(Number(value) - Number(others[index]));
      if (name === 'token_ids' || typeof value === 'string') tokensDiffer += 1;
      else if (!Number.isFinite(distance)) notComparable += 1;
      else largest = Math.max(largest, distance);
    }
  }
  return { tokensDiffer, notComparable, largest };
}

async function compareProviders(folder: string, checkpoint: string, precision: Precision): Promise<void> {
  const [cpu, cuda] = [await start(folder, 'cpu', 'float32'), await start(folder, 'cuda', precision)];
  if (cpu.model === undefined) throw new Error('Expected a loaded model after initialize().');
  const { requests, outputs } = parityRequests[cpu.model.checkpoint.task];
  for (const [request, inputs] of Object.entries(requests)) {
    // CLIP has an output only where its inputs were given; a request that names none gets the usual ones.
    const names = outputs.filter((name) => isOutputOf(name, inputs));
    try {
      const answers = [await ask(cpu, inputs, names), await ask(cuda, inputs, names)] as const;
      report({ what: 'parity', precision, checkpoint, request, ...difference(...answers) });
    } catch (error) {
      report({ what: 'parity', precision, checkpoint, request, error: shortError(error) });
    }
  }
  await cpu.finalize();
  await cuda.finalize();
}

function isOutputOf(name: string, inputs: Inputs): boolean {
  if (name === 'image_embeds') return 'img_url' in inputs;
  if (name === 'text_embeds') return 'text' in inputs;
  return !/^(?:cosine_similarity|probability)$/.test(name) || ('img_url' in inputs && 'text' in inputs);
}

async function parity(precision: Precision): Promise<void> {
  const folders = [shipped, ...readdirSync(`${root}checkpoints`).map((name) => `${root}checkpoints/${name}`)];
  for (const folder of folders.filter((each) => statSync(each).isDirectory())) {
    const checkpoint = folder.slice(folder.lastIndexOf('/') + 1);
    await compareProviders(folder, checkpoint, precision).catch((error: unknown) =>
      report({ what: 'parity', precision, checkpoint, error: shortError(error) }),
    );
  }
}

/** The trained checkpoints on drawn scenes: quality in each precision, and how many answers are those of the CPU. */
async function scenes(): Promise<void> {
  const others = readdirSync(`${root}checkpoints`).filter((name) => name.startsWith('scenes-'));
  for (const folder of [shipped, ...others.map((name) => `${root}checkpoints/${name}`)]) {
    const checkpoint = folder.slice(folder.lastIndexOf('/') + 1);
    const open = (provider: Provider, precision: Precision) => start(folder, provider, precision);
    await compareScenes(`${root}scenes`, open, (values) => report({ what: 'scenes', checkpoint, ...values })).catch(
      (error: unknown) => report({ what: 'scenes', checkpoint, error: shortError(error) }),
    );
  }
}

interface Run {
  readonly totalMs: number;
  readonly computeMs: number;
}

async function captionOnce(handler: RunningHandler, images: readonly string[]): Promise<Run> {
  const startMs = performance.now();
  const inputs = { img_url: images, text: images.map(() => ''), ...forced };
  const { times } = await handler.inferTensors({ inputs, outputs: ['token_ids'] });
  return { totalMs: performance.now() - startMs, computeMs: times.computeMs };
}

/** At least 5 runs, at most 50; between those numbers until the time is over, and never 10 s beyond it. */
async function captionRepeatedly(handler: RunningHandler, images: readonly string[]): Promise<readonly Run[]> {
  const runs: Run[] = [];
  const endMs = performance.now() + secondsPerBatch * 1000;
  while (runs.length < 5 || (performance.now() < endMs && runs.length < 50)) {
    runs.push(await captionOnce(handler, images));
    if (performance.now() > endMs + 10_000) break;
  }
  return runs;
}

async function measureBatch(handler: RunningHandler, batch: number): Promise<Readonly<Record<string, number>>> {
  const images = await pictures(batch, Number(process.env['SIDE'] ?? 384));
  const first = await captionOnce(handler, images);
  await captionOnce(handler, images);
  const runs = await captionRepeatedly(handler, images);
  const computeMs = median(runs.map((run) => run.computeMs));
  return {
    runs: runs.length,
    computeMs,
    fastestMs: Math.min(...runs.map((run) => run.computeMs)),
    totalMs: median(runs.map((run) => run.totalMs)),
    firstMs: first.computeMs,
    captionsPerSecond: (1000 * batch) / computeMs,
    memoryMiB: cardMemoryMiB(),
  };
}

async function speed(checkpoint: string, provider: Provider, precision: Precision): Promise<void> {
  const handler = await start(checkpoint, provider, precision);
  const work = captionWork(handler, precision);
  for (const batch of batchSizes) {
    const numbers = await measureBatch(handler, batch).catch((error: unknown) => ({ error: shortError(error) }));
    report({ what: 'speed', side: 'blip-handler', checkpoint, provider, dtype: precision, batch, ...work, ...numbers });
  }
  await handler.finalize();
}

/** Memory of the card that all processes together use. */
function cardMemoryMiB(): number {
  const query = ['--query-gpu=memory.used', '--format=csv,noheader,nounits'];
  const { stdout } = spawnSync('nvidia-smi', query, { encoding: 'utf8' });
  return Number(stdout?.trim() || Number.NaN);
}

/** One caption in a process of its own, for `start` and `placement`. */
async function first(checkpoint: string, provider: Provider, precision: Precision): Promise<void> {
  const handler = await start(checkpoint, provider, precision);
  await ask(handler, { img_url: picture, text: '', ...forced }, ['token_ids']);
  const status = readFileSync('/proc/self/status', 'utf8');
  const megabytes = (name: string) => Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1000);
  const { loadMs, modelLoadMs } = handler.model ?? {};
  const [peakMB, anonymousMB] = [megabytes('VmHWM'), megabytes('RssAnon')];
  console.log(JSON.stringify({ loadMs, modelLoadMs, peakMB, anonymousMB, memoryMiB: cardMemoryMiB() }));
  process.exit(0); // The time that a clean end takes is not part of the measurement.
}

async function starts(checkpoint: string, provider: Provider, precision: Precision): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) {
    const startMs = performance.now();
    const child = spawn(process.execPath, [self, 'first', checkpoint, provider, precision], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    for await (const chunk of child.stdout) output += chunk;
    const values = { what: 'start', side: 'blip-handler', checkpoint, provider, dtype: precision, turn };
    try {
      report({ ...values, firstCaptionMs: performance.now() - startMs, ...JSON.parse(output) });
    } catch {
      report({ ...values, error: `Expected one line of JSON, got ${output.slice(0, 300)}` });
    }
  }
}

/** Reads the runtime's own log of a session (through bench/ort-hook.mjs), and writes the profile of one caption to $OUT. */
async function placement(checkpoint: string, precision: Precision): Promise<void> {
  const out = process.env['OUT'] ?? '/tmp';
  const child = spawnSync(process.execPath, [self, 'first', checkpoint, 'cuda', precision], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    // The hook comes by NODE_OPTIONS, because worker threads do not inherit an argument.
    env: {
      ...process.env,
      NODE_OPTIONS: `--import=${root}bench/ort-hook.mjs`,
      ORT_PROFILE_PREFIX: `${out}/profile`,
    },
  });
  const log = `${child.stderr}\n${child.stdout}`;
  const telling = log.split('\n').filter((line) => /Memcpy|placed on|VerifyEach|fallback to CPU|[EF]:onnx/.test(line));
  writeFileSync(`${out}/placement.log`, telling.join('\n').slice(0, 8_000_000));
  const pairs = (pattern: RegExp) => [...log.matchAll(pattern)].map(([, one, other]) => `${one} ${other}`);
  report({
    what: 'placement',
    checkpoint,
    precision,
    memcpy: pairs(/(\d+) Memcpy nodes are added to the graph (\S+)/g),
    placed: pairs(/placed on \[(\w+)\]\. Number of nodes: (\d+)/g),
    preferredOnCpu: [...log.matchAll(/Force fallback to CPU execution for node: \S+/g)].length,
    exitCode: child.status,
  });
  summarizeProfiles(out);
}

interface ProfileEvent {
  readonly cat: string;
  readonly name: string;
  readonly dur: number;
  readonly args?: Readonly<Record<string, string>>;
}

/** Sums the time of each operator as the CPU sees it, which is the launch of a kernel and not its run. */
function summarizeProfiles(out: string): void {
  for (const file of readdirSync(out).filter((name) => name.startsWith('profile') && name.endsWith('.json'))) {
    const events: readonly ProfileEvent[] = JSON.parse(readFileSync(`${out}/${file}`, 'utf8'));
    const sums = new Map<string, { readonly count: number; readonly ms: number }>();
    for (const { cat, name, dur, args } of events) {
      if (cat !== 'Node' || !name.endsWith('_kernel_time')) continue;
      const key = `${args?.['op_name']} ${args?.['provider']}`;
      const sum = sums.get(key) ?? { count: 0, ms: 0 };
      sums.set(key, { count: sum.count + 1, ms: sum.ms + dur / 1000 });
    }
    const slowest = [...sums].sort(([, a], [, b]) => b.ms - a.ms).slice(0, 12);
    const nodes = slowest.map(([key, { count, ms }]) => `${key}: ${count} x, ${ms.toFixed(2)} ms`);
    report({ what: 'profile', file, nodes });
  }
}

const precisions = ['float32', 'float16', 'bfloat16'] as const;
const [mode = '', ...values] = process.argv.slice(2);
const [checkpoint = shipped] = values;
const provider: Provider = values.includes('cpu') ? 'cpu' : 'cuda';
const precision: Precision = precisions.find((each) => values.includes(each)) ?? 'float32';
const modes: Readonly<Record<string, () => Promise<void>>> = {
  probe,
  parity: () => parity(precision),
  scenes,
  speed: () => speed(checkpoint, provider, precision),
  start: () => starts(checkpoint, provider, precision),
  first: () => first(checkpoint, provider, precision),
  placement: () => placement(checkpoint, precision),
};
const run = modes[mode];
if (run === undefined) throw new Error(`Expected one of ${Object.keys(modes).join(', ')}, got ${mode || 'nothing'}.`);
await run();
