import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';

/**
 * Measures the server around the model, beside BentoML's example for BLIP. Both caption one small picture over HTTP, with a
 * tiny checkpoint and two threads each, and alternate in one run. docs/explanation/speed.md has its table.
 *
 *     pip install -r test/fixtures/requirements.txt bentoml==1.4.39 && npm run build
 *     npx tsx bench/overhead.ts
 */

const CONNECTIONS = 16;
const ROUNDS = 5;
const ROUND_SECONDS = 10;
const THREADS = '2';
const PATIENCE_MS = 120_000;

const root = fileURLToPath(new URL('..', import.meta.url));
const checkpoint = `${root}test/fixtures/checkpoints/narrow-vision`;
const picture = readFileSync(`${root}test/fixtures/images/small.png`);
const boundary = 'a-boundary';

/** The form that both servers get. This package gets further fields that BentoML's service does not name. */
function form(fields: Readonly<Record<string, string>>): Buffer {
  const file = `--${boundary}\r\ncontent-disposition: form-data; name="img"; filename="small.png"\r\ncontent-type: image/png\r\n\r\n`;
  const others = Object.entries(fields).map(
    ([name, value]) => `\r\n--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}`,
  );
  return Buffer.concat([Buffer.from(file), picture, Buffer.from(`${others.join('')}\r\n--${boundary}--\r\n`)]);
}

interface Side {
  readonly name: string;
  readonly url: string;
  readonly body: Buffer;
  readonly process: ChildProcess;
}

interface Round {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const environment = { ...process.env, BLIP_CHECKPOINT: checkpoint, BLIP_THREADS: THREADS, LOG_LEVEL: 'warn' };

function startOurs(port: number): Side {
  const child = spawn(process.execPath, [`${root}dist/serve.js`], {
    env: { ...environment, PORT: String(port), BLIP_EXECUTION_PROVIDER: 'cpu' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const body = form({ max_new_tokens: '20', min_new_tokens: '20' });
  return { name: 'blip-handler', url: `http://127.0.0.1:${port}`, body, process: child };
}

function startBentoml(port: number): Side {
  const args = ['serve', `${root}bench/bento_service.py:BlipCaptioning`, '--port', String(port), '--timeout', '600'];
  const child = spawn('bentoml', args, {
    env: { ...environment, BENTOML_DO_NOT_TRACK: 'True' },
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  return { name: 'BentoML', url: `http://127.0.0.1:${port}`, body: form({}), process: child };
}

const headers = { 'content-type': `multipart/form-data; boundary=${boundary}` };

/** Waits for the server, and returns its caption. */
async function caption({ name, url, body }: Side): Promise<string> {
  const endMs = performance.now() + PATIENCE_MS;
  while (performance.now() < endMs) {
    const answer = await fetch(`${url}/generate`, { method: 'POST', headers, body }).catch(() => undefined);
    if (answer?.ok) return await answer.text();
    await sleep(500);
  }
  throw new Error(`Expected ${name} to answer within ${PATIENCE_MS} ms.`);
}

async function load({ name, url, body }: Side, seconds: number): Promise<Round> {
  const { requests, latency, non2xx, errors, timeouts } = await autocannon({
    url: `${url}/generate`,
    method: 'POST',
    headers,
    body,
    connections: CONNECTIONS,
    duration: seconds,
    timeout: 60,
  });
  if (non2xx + errors + timeouts > 0)
    throw new Error(`Expected ${name} to answer every request, got ${non2xx + errors + timeouts} failures.`);
  return { perSecond: requests.average, p50Ms: latency.p50, p99Ms: latency.p99 };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function row(name: string, rounds: readonly Round[]): void {
  const of = (key: keyof Round) => median(rounds.map((round) => round[key]));
  console.log(
    `| ${name} | ${of('perSecond').toFixed(0)} | ${of('p50Ms').toFixed(0)} ms | ${of('p99Ms').toFixed(0)} ms |`,
  );
}

const [ours, theirs] = [startOurs(8_301), startBentoml(8_302)];
try {
  const captions = [await caption(ours), await caption(theirs)];
  const rounds: { ours: Round; theirs: Round }[] = [];
  for (const side of [ours, theirs]) await load(side, 3);
  for (let round = 0; round < ROUNDS; round += 1) {
    rounds.push({ ours: await load(ours, ROUND_SECONDS), theirs: await load(theirs, ROUND_SECONDS) });
  }
  console.log(
    `| ${CONNECTIONS} connections, ${THREADS} threads | requests a second | p50 | p99 |\n| --- | --- | --- | --- |`,
  );
  row(
    ours.name,
    rounds.map((round) => round.ours),
  );
  row(
    theirs.name,
    rounds.map((round) => round.theirs),
  );
  const ratio = median(rounds.map((round) => round.ours.perSecond / round.theirs.perSecond));
  console.log(`\nratio ${ratio.toFixed(1)}; the same caption: ${captions[0] === captions[1]}`);
} finally {
  for (const { process: child } of [ours, theirs]) child.kill('SIGTERM');
}
