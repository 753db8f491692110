import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { PretendRun } from './run.ts';

/** What the pretend card saw of a process: launches, calls of libraries, and copies. */

const root = fileURLToPath(new URL('../../..', import.meta.url));
/** Where fetch.sh makes the card. */
const cardFolder = join(root, '.gpu/pretend');

/** Whether fetch.sh has made a card. */
export function hasPretendCard(): boolean {
  return existsSync(join(cardFolder, 'made-from'));
}

/** An operation of the card: what kind it is, and the name of a kernel or function. */
export interface Operation {
  readonly kind: 'kernel' | 'gemm' | 'cudnn' | 'to the card' | 'to the host' | 'on the card' | 'memset';
  readonly name: string;
  /** Of a copy. */
  readonly bytes: number;
}

/** What a process did on the card, and what its sessions logged. */
export interface Trace {
  readonly operations: readonly Operation[];
  readonly counts: Counts;
  readonly log: string;
}

interface CardSettings {
  /** A loop that asks whether to go on gets this many times yes, and then no. */
  readonly loops?: number;
  /** Every so many times it gets no. */
  readonly period?: number;
  /** Sessions log where they place nodes. */
  readonly logsPlacements?: boolean;
}

/**
 * Runs `run` on the pretend card in a process of its own.
 * @throws Error with what the process wrote, where it fails.
 */
export function traceRun(run: PretendRun, { loops, period, logsPlacements }: CardSettings): Trace {
  const folder = mkdtempSync(join(tmpdir(), 'pretend-card-'));
  const [trace, log] = [join(folder, 'trace'), join(folder, 'log')];
  const script = fileURLToPath(new URL('run.ts', import.meta.url));
  const hook = new URL('../ort-hook.mjs', import.meta.url).href;
  const imports = ['--import', 'tsx', ...(logsPlacements === true ? ['--import', hook] : [])];
  try {
    const logFile = openSync(log, 'w'); // The runtime loses lines that it writes to a pipe.
    const { status } = spawnSync(process.execPath, [...imports, script, JSON.stringify(run)], {
      cwd: root,
      stdio: ['ignore', logFile, logFile],
      env: {
        ...process.env,
        LD_LIBRARY_PATH: cardFolder,
        FAKE_TRACE: trace,
        ...(loops === undefined ? {} : { FAKE_LOOPS: String(loops) }),
        ...(period === undefined ? {} : { FAKE_PERIOD: String(period) }),
        // The card has none of cuDNN's attention. A process that is served turns it off too.
        ORT_ENABLE_CUDNN_FLASH_ATTENTION: '0',
      },
    });
    closeSync(logFile);
    const text = readFileSync(log, 'utf8');
    if (status !== 0)
      throw new Error(`Expected ${JSON.stringify(run)} to run on the pretend card, got ${text.slice(-2000)}`);
    const operations = readOperations(readFileSync(trace, 'utf8'));
    return { operations, counts: countOperations(operations), log: text };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const kinds: Readonly<Record<string, Operation['kind']>> = {
  kernel: 'kernel',
  KERNEL: 'kernel', // one that the card computes
  gemm: 'gemm',
  cudnn: 'cudnn',
  h2d: 'to the card',
  d2h: 'to the host',
  d2d: 'on the card',
  memset: 'memset',
};

function readOperations(trace: string): readonly Operation[] {
  return trace.split('\n').flatMap((line) => {
    const [word = '', name = ''] = line.split('\t');
    const kind = kinds[word];
    if (kind === undefined) return [];
    const [, bytes] = /^(\d+) a?sync$/.exec(name) ?? [];
    return [{ kind, name: bytes === undefined ? shortName(name) : '', bytes: Number(bytes ?? 0) }];
  });
}

/** The name of a kernel, with what it computes with where that tells two of them apart. */
function shortName(signature: string): string {
  const name = /(?:void )?(?:\w+::|\(anonymous namespace\)::)*(\w+)/.exec(signature)?.[1] ?? signature;
  const operation = /OP_\w+<[^>]*>/.exec(signature)?.[0];
  return operation === undefined ? name : `${name} ${operation}`;
}

/** How often each operation is there, by kind and name. */
export type Counts = ReadonlyMap<string, number>;

function countOperations(operations: readonly Operation[]): Counts {
  const counts = new Map<string, number>();
  for (const { kind, name } of operations) {
    const key = `${kind}\t${name}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** What the second has more often than the first: of one iteration or one layer, where it has one more. */
export function moreOf(before: Counts, after: Counts): Counts {
  const keys = new Set([...before.keys(), ...after.keys()]);
  const differences = [...keys].map((key) => [key, (after.get(key) ?? 0) - (before.get(key) ?? 0)] as const);
  return new Map(differences.filter(([, difference]) => difference !== 0));
}

/** How many operations there are, of all kinds or of one. */
export function total(counts: Counts, kind?: Operation['kind']): number {
  const ofKind = [...counts].filter(([key]) => kind === undefined || key.startsWith(`${kind}\t`));
  return ofKind.reduce((sum, [, count]) => sum + count, 0);
}

/** Bytes that all copies of a kind moved. */
export function bytesOf({ operations }: Trace, kind: Operation['kind']): number {
  return operations.reduce((sum, operation) => sum + (operation.kind === kind ? operation.bytes : 0), 0);
}

/** Operators without a kernel on the card, `Operator name`. */
export function withoutKernel({ log }: Trace): readonly string[] {
  const pattern = /CUDA kernel not found in registries for Op type: (\S+) node name: (\S+)/g;
  return [...new Set([...log.matchAll(pattern)].map(([, operator, name]) => `${operator} ${name}`))];
}

/** Nodes that copy between the host and the card, by graph. */
export function copyNodes({ log }: Trace): ReadonlyMap<string, number> {
  const pattern = /(\d+) Memcpy nodes are added to the graph (\S+) for CUDAExecutionProvider/g;
  return new Map([...log.matchAll(pattern)].map(([, count, graph = '']) => [graph, Number(count)]));
}
