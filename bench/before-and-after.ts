import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';

/**
 * Holds this checkout against another one of the same package, such as the commit before: the figures of bench/compare.ts
 * and bench/overhead.ts that need no Python, alternating between the two in one run.
 *
 *     npm run build
 *     npx tsx bench/before-and-after.ts OTHER_CHECKOUT CHECKPOINT_FOLDER
 *
 * OTHER_CHECKOUT must be built as well. Prints medians, and the median of the ratios turn by turn; below 1 is faster now.
 */

const THREADS = '2';
const TURNS = 11;
const ROUND_SECONDS = 8;
const CONNECTIONS = 16;
const PATIENCE_MS = 60_000;

const root = fileURLToPath(new URL('..', import.meta.url));
const image = `${root}test/fixtures/images/chelsea.png`;
const smallCheckpoint = `${root}test/fixtures/checkpoints/narrow-vision`;
const forced = { max_new_tokens: 20, min_new_tokens: 20 };
const source = `data:;base64,${readFileSync(image).toString('base64')}`;

type Sides<T> = { readonly before: T; readonly after: T };
type Figures = Readonly<Record<string, number>>;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function environment(values: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  return { ...process.env, BLIP_THREADS: THREADS, BLIP_EXECUTION_PROVIDER: 'cpu', ...values };
}

/** Turns that begin with one side and with the other alternately, so that neither always comes second. */
async function alternate(sides: Sides<() => Promise<Figures>>, turns = TURNS): Promise<readonly Sides<Figures>[]> {
  const results: Sides<Figures>[] = [];
  for (let turn = 0; turn < turns; turn += 1) {
    if (turn % 2 === 0) {
      const before = await sides.before();
      results.push({ before, after: await sides.after() });
    } else {
      const after = await sides.after();
      results.push({ before: await sides.before(), after });
    }
  }
  return results;
}

function printRows(turns: readonly Sides<Figures>[]): void {
  for (const name of Object.keys(turns[0]?.before ?? {})) {
    const figure = (side: keyof Sides<Figures>) => turns.map((turn) => turn[side][name] ?? Number.NaN);
    const [before, after] = [figure('before'), figure('after')];
    const ratio = median(after.map((value, turn) => value / (before[turn] ?? Number.NaN)));
    console.log(`| ${name} | ${median(before).toFixed(1)} | ${median(after).toFixed(1)} | ${ratio.toFixed(3)} |`);
  }
}

/** A handler in a process of its own: it captions whenever it is sent the texts as a line of JSON. */
function startCaptioner(checkout: string, checkpoint: string) {
  const script = `
    import Handler, { settingsFromEnvironment } from ${JSON.stringify(`${checkout}/dist/app.js`)};
    import { createInterface } from 'node:readline';
    const handler = new Handler({ ...settingsFromEnvironment(), checkpoint: ${JSON.stringify(checkpoint)} });
    await handler.initialize();
    for await (const line of createInterface({ input: process.stdin })) {
      const { text, source, parameters } = JSON.parse(line);
      const startMs = performance.now();
      await handler.infer({ img_url: source, text, ...parameters });
      console.log(performance.now() - startMs);
    }
    await handler.finalize();`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: environment(),
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async caption(text: readonly string[], parameters: object = {}): Promise<number> {
      child.stdin.write(`${JSON.stringify({ text, source, parameters: { ...forced, ...parameters } })}\n`);
      return Number((await lines.next()).value);
    },
    stop: () => child.stdin.end(),
  };
}

async function compareCaptions(checkouts: Sides<string>, checkpoint: string): Promise<void> {
  const captioners = {
    before: startCaptioner(checkouts.before, checkpoint),
    after: startCaptioner(checkouts.after, checkpoint),
  };
  const measure = (side: keyof Sides<string>) => async () => ({
    'caption, 20 tokens, ms': await captioners[side].caption(['']),
    'four prompts about one image, ms': await captioners[side].caption(['', 'a picture of', 'a photography of', 'the']),
    'three beams with a prompt, ms': await captioners[side].caption(['a photography of'], { num_beams: 3 }),
  });
  await measure('before')();
  await measure('after')();
  printRows(await alternate({ before: measure('before'), after: measure('after') }, Math.ceil(TURNS / 2)));
  for (const captioner of Object.values(captioners)) captioner.stop();
}

/** Wall time of a whole process. */
async function wallMs(args: readonly string[], values?: Readonly<Record<string, string>>): Promise<number> {
  const startMs = performance.now();
  const child = spawn(process.execPath, args, { stdio: 'ignore', env: environment(values) });
  const exitCode = await new Promise<number | null>((end) => child.once('exit', end));
  if (exitCode !== 0) throw new Error(`Expected ${args[0]} to end well, got exit code ${exitCode}.`);
  return performance.now() - startMs;
}

/** Milliseconds from process start until the server says that it is ready. */
async function readyMs(checkout: string): Promise<number> {
  const startMs = performance.now();
  const child = spawn(process.execPath, [`${checkout}/dist/serve.js`], {
    env: environment({ PORT: '0', LOG_LEVEL: 'info', BLIP_CHECKPOINT: smallCheckpoint }),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: child.stdout })) if (line.includes('"msg":"ready"')) break;
  const ms = performance.now() - startMs;
  child.kill('SIGTERM');
  await new Promise((end) => child.once('exit', end));
  return ms;
}

/** The figures of a process that loads the checkpoint and does nothing else. */
async function measureLoad(checkout: string, checkpoint: string): Promise<Figures> {
  const script = `
    import Handler, { settingsFromEnvironment } from ${JSON.stringify(`${checkout}/dist/app.js`)};
    import { readFileSync } from 'node:fs';
    const handler = new Handler({ ...settingsFromEnvironment(), checkpoint: ${JSON.stringify(checkpoint)} });
    await handler.initialize();
    const anonymous = Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
    console.log(JSON.stringify([handler.model.loadMs, handler.model.modelLoadMs, anonymous / 1000]));
    await handler.finalize();`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: environment(),
  });
  let output = '';
  for await (const line of createInterface({ input: child.stdout })) output += line;
  const [loadMs, modelLoadMs, megabytes] = JSON.parse(output);
  return { 'initialize(), ms': loadMs, 'model load, ms': modelLoadMs, 'anonymous memory, MB': megabytes };
}

async function compareStarts(checkouts: Sides<string>, checkpoint: string): Promise<void> {
  const parameters = ['--parameters', JSON.stringify(forced)];
  const start = (checkout: string) => async () => ({
    'process start to ready, small checkpoint, ms': await readyMs(checkout),
    'process start to first caption, ms': await wallMs([
      `${checkout}/dist/invoke.js`,
      ...['--checkpoint', checkpoint, '--img_url', image],
      ...parameters,
    ]),
    ...(await measureLoad(checkout, checkpoint)),
  });
  printRows(await alternate({ before: start(checkouts.before), after: start(checkouts.after) }));
}

const boundary = 'a-boundary';
const headers = { 'content-type': `multipart/form-data; boundary=${boundary}` };

/** A form with a small picture and 20 tokens, as bench/overhead.ts sends it. */
function form(): Buffer {
  const field = (name: string, value: string) =>
    `\r\n--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}`;
  const file = `--${boundary}\r\ncontent-disposition: form-data; name="img"; filename="small.png"\r\ncontent-type: image/png\r\n\r\n`;
  const fields = Object.entries(forced).map(([name, value]) => field(name, String(value)));
  const picture = readFileSync(`${root}test/fixtures/images/small.png`);
  return Buffer.concat([Buffer.from(file), picture, Buffer.from(`${fields.join('')}\r\n--${boundary}--\r\n`)]);
}

interface Server {
  readonly url: string;
  readonly process: ChildProcess;
}

async function startServer(checkout: string, port: number): Promise<Server> {
  const child = spawn(process.execPath, [`${checkout}/dist/serve.js`], {
    env: environment({ PORT: String(port), LOG_LEVEL: 'warn', BLIP_CHECKPOINT: smallCheckpoint }),
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const url = `http://127.0.0.1:${port}`;
  const endMs = performance.now() + PATIENCE_MS;
  while (performance.now() < endMs) {
    const answer = await fetch(`${url}/generate`, { method: 'POST', headers, body: form() }).catch(() => undefined);
    if (answer?.ok) return { url, process: child };
    await sleep(100);
  }
  throw new Error(`Expected the server of ${checkout} to answer within ${PATIENCE_MS} ms.`);
}

async function load({ url }: Server): Promise<Figures> {
  const { requests, latency, non2xx, errors, timeouts } = await autocannon({
    ...{ url: `${url}/generate`, method: 'POST', headers, body: form() },
    ...{ connections: CONNECTIONS, duration: ROUND_SECONDS, timeout: 60 },
  });
  const failed = non2xx + errors + timeouts;
  if (failed > 0) throw new Error(`Expected every request to be answered, got ${failed} that failed.`);
  return {
    'HTTP: ms for a request': 1000 / requests.average,
    'HTTP: p50, ms': latency.p50,
    'HTTP: p99, ms': latency.p99,
  };
}

async function compareOverhead(checkouts: Sides<string>): Promise<void> {
  const servers = {
    before: await startServer(checkouts.before, 8_311),
    after: await startServer(checkouts.after, 8_312),
  };
  try {
    printRows(await alternate({ before: () => load(servers.before), after: () => load(servers.after) }));
  } finally {
    for (const { process: child } of Object.values(servers)) child.kill('SIGTERM');
  }
}

const [other, checkpoint] = process.argv.slice(2);
if (other === undefined || checkpoint === undefined)
  throw new Error('Usage: npx tsx bench/before-and-after.ts OTHER_CHECKOUT CHECKPOINT_FOLDER');
const checkouts = { before: resolve(other), after: resolve(root) };
console.log('| | before | after | after / before |\n| --- | --- | --- | --- |');
await compareOverhead(checkouts);
await compareStarts(checkouts, checkpoint);
await compareCaptions(checkouts, checkpoint);
