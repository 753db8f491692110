import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import { clockJump } from './faults/clock-jump.ts';
import { fullDisk } from './faults/full-disk.ts';
import { kill } from './faults/kill.ts';
import { lowDescriptors } from './faults/low-descriptors.ts';
import { sigterm } from './faults/sigterm.ts';
import { slowClients } from './faults/slow-clients.ts';
import { workerDeath } from './faults/worker-death.ts';

/**
 * Overloads the service: measures what it can do, then sends three times as much for a minute. Every request must get a
 * caption or a refusal, and the accepted ones must take about as long as a full queue does.
 *
 * Then come the faults of bench/faults/, each against a server of its own: nothing that was accepted may be lost.
 *
 *     npm run build && npx tsx bench/load.ts
 */

const FACTOR = 3;
const SECONDS = 60;
const QUEUE_SIZE = 64;
/** More than the queue holds, so that it can overflow. */
const CONNECTIONS = 4 * QUEUE_SIZE;
const PORT = 8_303;

const root = fileURLToPath(new URL('..', import.meta.url));
const url = `http://127.0.0.1:${PORT}`;
const picture = readFileSync(`${root}examples/two-cats.png`).toString('base64');
const body = JSON.stringify({
  inputs: [{ name: 'img_url', shape: [1], datatype: 'BYTES', data: [`data:;base64,${picture}`] }],
});

function start() {
  const child = spawn(process.execPath, [`${root}dist/serve.js`], {
    env: { ...process.env, PORT: String(PORT), BLIP_MAX_QUEUE_SIZE: String(QUEUE_SIZE), LOG_LEVEL: 'warn' },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { child, exit };
}

async function untilReady(): Promise<void> {
  for (;;) {
    const answer = await fetch(`${url}/v2/health/ready`).catch(() => undefined);
    if (answer?.ok) return;
    await sleep(100);
  }
}

/** Resident memory, in MB. */
function residentMegabytes(pid: number | undefined): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) / 1_000;
}

interface Load {
  /** Answers by status. */
  readonly statuses: ReadonlyMap<number, number>;
  /** Milliseconds of each caption, ascending. */
  readonly captionMs: readonly number[];
  /** Requests without an answer. */
  readonly lost: number;
}

/** @param perSecond requests to begin in a second; without it, each connection asks again when it is answered. */
async function load(seconds: number, connections: number, perSecond?: number): Promise<Load> {
  const statuses = new Map<number, number>();
  const captionMs: number[] = [];
  const options = {
    url: `${url}/v2/models/captioning/infer`,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    connections,
    duration: seconds,
    timeout: 60,
    ...(perSecond === undefined ? {} : { overallRate: perSecond }),
  } as const;
  const { errors, timeouts } = await new Promise<autocannon.Result>((resolve, reject) => {
    const running = autocannon(options, (error, result) => (error === null ? resolve(result) : reject(error)));
    running.on('response', (_client, status, _bytes, ms) => {
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      if (status === 200) captionMs.push(ms);
    });
  });
  return { statuses, captionMs: captionMs.sort((a, b) => a - b), lost: errors + timeouts };
}

function describe({ statuses, lost }: Load): string {
  const counts = [...statuses].sort(([a], [b]) => a - b).map(([status, count]) => `${count} x ${status}`);
  return [...counts, `${lost} lost`].join(', ');
}

/** The value below which this share of the values lies. */
function quantile(values: readonly number[], share: number): number {
  return values[Math.floor(share * values.length)] ?? Number.NaN;
}

const { child, exit } = start();
await untilReady();
await load(5, 32);
const aloneMs = quantile((await load(10, 1)).captionMs, 0.5);
const capacity = await load(15, 32);
const perSecond = capacity.captionMs.length / 15;
console.log(`capacity: ${perSecond.toFixed(0)} captions a second`);
const before = residentMegabytes(child.pid);
const overload = await load(SECONDS, CONNECTIONS, Math.round(FACTOR * perSecond));
console.log(`${FACTOR} times that for ${SECONDS} s: ${describe(overload)}`);
console.log(
  `captions: p50 ${quantile(overload.captionMs, 0.5).toFixed(0)} ms, p99 ${quantile(overload.captionMs, 0.99).toFixed(0)} ms`,
);
console.log(
  `a queue of ${QUEUE_SIZE}: ${((QUEUE_SIZE / perSecond) * 1_000).toFixed(0)} ms at capacity, ` +
    `${(QUEUE_SIZE * aloneMs).toFixed(0)} ms one after another, each alone (${aloneMs.toFixed(1)} ms)`,
);
console.log(`memory: ${before.toFixed(0)} MB before, ${residentMegabytes(child.pid).toFixed(0)} MB after`);
child.kill('SIGTERM');
console.log(`exit code after SIGTERM: ${await exit}`);

for (const fault of [sigterm, kill, workerDeath, slowClients, fullDisk, clockJump, lowDescriptors]) {
  const figures = Object.entries(await fault.run(root.replace(/\/$/, '')));
  console.log(`${fault.name}: ${figures.map(([name, value]) => `${name} ${value}`).join(', ')}`);
}
