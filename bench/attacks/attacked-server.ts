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
  /** Sends a signal. @returns the seconds until the process has ended; at most `limitSeconds`. */
  secondsToEnd(signal: NodeJS.Signals, limitSeconds: number): Promise<number>;
  stop(): Promise<void>;
}

/**
 * Starts the built server of a checkout with one token, `attacker`, and another, `bystander`.
 * @param checkout the folder of a checkout that was built with `npm run build`.
 * @param output the descriptor of the file that its log goes to; nowhere by default.
 * @param descriptors how many files it may have open.
 */
export async function startAttackedServer(
  checkout: string,
  port: number,
  values: Readonly<Record<string, string>> = {},
  output: number | 'ignore' = 'ignore',
  descriptors?: number,
): Promise<AttackedServer> {
  const environment = { BLIP_API_TOKENS: 'attacker,bystander', LOG_LEVEL: 'warn', BLIP_EXECUTION_PROVIDER: 'cpu' };
  const limit = descriptors === undefined ? '' : `ulimit -n ${descriptors}; `;
  const child = spawn('sh', ['-c', `${limit}exec "${process.execPath}" "${checkout}/dist/serve.js"`], {
    env: { ...process.env, ...environment, PORT: String(port), ...values },
    stdio: ['ignore', output, 'inherit'],
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
    async secondsToEnd(signal, limitSeconds) {
      const startMs = performance.now();
      child.kill(signal);
      await Promise.race([exit, sleep(limitSeconds * 1_000, undefined, { ref: false })]);
      return (performance.now() - startMs) / 1_000;
    },
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

/** The shipped picture, as base64. */
export const shippedPicture = readFileSync(`${root}examples/two-cats.png`).toString('base64');

export interface CaptionResult {
  /** 0 for no answer. */
  readonly status: number;
  readonly ms: number;
  /** Nobody listened. */
  readonly isRefused: boolean;
}

/** Asks for a caption of the shipped picture, and waits for at most `timeoutMs`. */
export async function captionOnce({ url }: AttackedServer, token: string, timeoutMs = 120_000): Promise<CaptionResult> {
  const startMs = performance.now();
  const inputs = [{ name: 'img_url', shape: [1], datatype: 'BYTES', data: [`data:;base64,${shippedPicture}`] }];
  try {
    const answer = await fetch(`${url}/v2/models/captioning/infer`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ inputs }),
      signal: AbortSignal.timeout(timeoutMs),
    });
    await answer.arrayBuffer();
    return { status: answer.status, ms: performance.now() - startMs, isRefused: false };
  } catch (thrown) {
    const isRefused = thrown instanceof Error && String(Object(thrown.cause).code) === 'ECONNREFUSED';
    return { status: 0, ms: performance.now() - startMs, isRefused };
  }
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
