import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const PATIENCE_MS = 30_000;
const SAMPLE_MS = 20;

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The address of the attacked server, and what the attack costs it. */
export interface AttackedServer {
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  /** The most resident memory since the start, in megabytes. */
  peakMegabytes(): number;
  /** Resident memory now, in megabytes. */
  residentMegabytes(): number;
  /** Seconds of CPU since the start. */
  cpuSeconds(): number;
  /** Whether the process lives. */
  isAlive(): boolean;
  stop(): Promise<void>;
}

/**
 * Starts the built server of a checkout with one token, `attacker`, and another, `bystander`.
 * @param checkout the folder of a checkout that was built with `npm run build`.
 * @param options `fileLimit` is the most files that the process may open.
 */
export async function startAttackedServer(
  checkout: string,
  port: number,
  values: Readonly<Record<string, string>> = {},
  { fileLimit }: { readonly fileLimit?: number } = {},
): Promise<AttackedServer> {
  const environment = { BLIP_API_TOKENS: 'attacker,bystander', LOG_LEVEL: 'warn', BLIP_EXECUTION_PROVIDER: 'cpu' };
  const program = [process.execPath, `${checkout}/dist/serve.js`];
  // prlimit becomes the program, so that the process is the server's.
  const [command = '', ...args] = fileLimit === undefined ? program : ['prlimit', `--nofile=${fileLimit}`, ...program];
  const child = spawn(command, args, {
    env: { ...process.env, ...environment, PORT: String(port), ...values },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const url = `http://127.0.0.1:${port}`;
  await untilReady(url);
  return describe(child, port, url);
}

function describe(child: ChildProcess, port: number, url: string): AttackedServer {
  const pid = child.pid ?? 0;
  const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  let peakMegabytes = 0;
  const sampling = setInterval(() => {
    peakMegabytes = Math.max(peakMegabytes, residentMegabytes(pid));
  }, SAMPLE_MS);
  sampling.unref();
  return {
    port,
    url,
    pid,
    peakMegabytes: () => peakMegabytes,
    residentMegabytes: () => residentMegabytes(pid),
    cpuSeconds: () => cpuSeconds(pid),
    isAlive: () => child.exitCode === null && child.signalCode === null,
    async stop() {
      clearInterval(sampling);
      child.kill('SIGKILL');
      await exit;
    },
  };
}

async function untilReady(url: string): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (performance.now() < endMs) {
    const answer = await fetch(`${url}/v2/health/ready`).catch(() => undefined);
    if (answer?.ok) return;
    await sleep(50);
  }
  throw new Error(`Expected a server at ${url} within ${PATIENCE_MS} ms, got none.`);
}

/** 0 where the process has ended. */
function residentMegabytes(pid: number): number {
  const [, kilobytes = 0] = /^VmRSS:\s+(\d+) kB$/m.exec(readProcess(pid, 'status')) ?? [];
  return Number(kilobytes) / 1_000;
}

/** User and system time: fields 14 and 15 of proc(5)'s stat, in hundredths of a second. */
function cpuSeconds(pid: number): number {
  const fields = readProcess(pid, 'stat').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100;
}

function readProcess(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

const picture = readFileSync(`${root}examples/two-cats.png`).toString('base64');

/** Asks for a caption of the shipped picture. @returns its status, 0 for no answer, and its milliseconds. */
export async function captionOnce(
  { url }: AttackedServer,
  token: string,
): Promise<{ readonly status: number; readonly ms: number }> {
  const startMs = performance.now();
  const inputs = [{ name: 'img_url', shape: [1], datatype: 'BYTES', data: [`data:;base64,${picture}`] }];
  const answer = await fetch(`${url}/v2/models/captioning/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ inputs }),
  }).catch(() => undefined);
  await answer?.arrayBuffer().catch(() => undefined);
  return { status: answer?.status ?? 0, ms: performance.now() - startMs };
}

/** Asks for a caption again and again until `attack` settles. @returns the slowest answer, in milliseconds. */
export async function slowestBystander(server: AttackedServer, attack: Promise<unknown>): Promise<number> {
  let isOver = false;
  const over = attack
    .catch(() => undefined)
    .then(() => {
      isOver = true;
    });
  let slowestMs = 0;
  while (!isOver && server.isAlive()) {
    const { status, ms } = await captionOnce(server, 'bystander');
    slowestMs = Math.max(slowestMs, status === 200 ? ms : Number.POSITIVE_INFINITY);
    await sleep(SAMPLE_MS);
  }
  await over;
  return slowestMs;
}
