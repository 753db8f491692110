import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attack } from './attack.ts';

const PORT = 8_431;
const SAMPLE_MS = 20;
const WATCH_MS = 60_000;
/** The server is ended here, so that the machine survives. */
const MOST_MEGABYTES = 4_000;

/** The author of a checkpoint: generation_config.json asks for a million beams, and a client for one caption. */
export const greedyCheckpoint: Attack = {
  name: 'a checkpoint with num_beams of a million',
  async run(checkout) {
    const folder = mkdtempSync(join(tmpdir(), 'greedy-checkpoint-'));
    cpSync(`${checkout}/checkpoints/scenes-captioning`, folder, { recursive: true });
    writeFileSync(join(folder, 'generation_config.json'), JSON.stringify({ num_beams: 1_000_000 }));
    const child = startServer(checkout, folder);
    let log = '';
    child.stderr?.on('data', (chunk) => {
      log += chunk;
    });
    const startMs = performance.now();
    try {
      const isReady = await untilReadyOrEnded(child);
      const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
      if (!isReady) return { 'refused after, s': seconds, code: /"code":"(\w+)"/.exec(log)?.[1] ?? 'none' };
      return { 'ready after, s': seconds, ...(await costOfCaption(child)) };
    } finally {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true });
    }
  },
};

function startServer(checkout: string, folder: string): ChildProcess {
  const values = { BLIP_CHECKPOINT: folder, BLIP_API_TOKENS: 'attacker', BLIP_EXECUTION_PROVIDER: 'cpu' };
  return spawn(process.execPath, [`${checkout}/dist/serve.js`], {
    env: { ...process.env, ...values, PORT: String(PORT), LOG_LEVEL: 'error' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

function isAlive({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

async function untilReadyOrEnded(child: ChildProcess): Promise<boolean> {
  while (isAlive(child)) {
    const answer = await fetch(`http://127.0.0.1:${PORT}/v2/health/ready`).catch(() => undefined);
    if (answer?.ok) return true;
    await sleep(SAMPLE_MS);
  }
  return false;
}

async function costOfCaption(child: ChildProcess): Promise<Readonly<Record<string, number | string>>> {
  const startMs = performance.now();
  let status: number | undefined;
  const asking = askForCaption().then((answered) => {
    status = answered;
  });
  let peakMegabytes = 0;
  while (status === undefined && isAlive(child) && performance.now() - startMs < WATCH_MS) {
    peakMegabytes = Math.max(peakMegabytes, residentMegabytes(child));
    if (peakMegabytes > MOST_MEGABYTES) child.kill('SIGKILL');
    await sleep(SAMPLE_MS);
  }
  child.kill('SIGKILL');
  await asking;
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  return { 'peak memory, MB': Math.round(peakMegabytes), 'after, s': seconds, 'status of a caption': status ?? 0 };
}

function residentMegabytes({ pid }: ChildProcess): number {
  try {
    const [, kilobytes = 0] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return Number(kilobytes) / 1_000;
  } catch {
    return 0; // The process has ended.
  }
}

/** @returns the status, or 0 for no answer. */
async function askForCaption(): Promise<number> {
  const picture = readFileSync(new URL('../../examples/two-cats.png', import.meta.url)).toString('base64');
  const inputs = [{ name: 'img_url', shape: [1], datatype: 'BYTES', data: [`data:;base64,${picture}`] }];
  const answer = await fetch(`http://127.0.0.1:${PORT}/v2/models/captioning/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer attacker' },
    body: JSON.stringify({ inputs }),
  }).catch(() => undefined);
  return answer?.status ?? 0;
}
