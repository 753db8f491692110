import { parentPort } from 'node:worker_threads';
import { type Checkpoint, openCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { Task } from '../../checkpoint/config/architectures.ts';
import { CheckpointError, type CheckpointErrorCode } from '../../checkpoint/errors.ts';
import type { GraphForm } from '../../models/module.ts';
import { type ErrorCode, HandlerError } from '../../protocol/errors.ts';
import { automaticPrecisions, chooseExecutionProvider, chooseForInt8 } from '../sessions/execution-provider.ts';
import type { ChosenExecutionProvider, ComputeChoice } from '../sessions/execution-provider-choices.ts';
import { loadSession } from '../sessions/load-session.ts';
import type { LoadedSession, LoadOptions } from '../sessions/loaded-session.ts';
import { BatchDropped, type Pause } from '../sessions/pause.ts';
import type { BatchOf, WorkBatch, WorkKind, WorkResult } from '../sessions/work.ts';

/**
 * The entry of a worker thread. The thread owns one session and computes one run of a batch at a time. Its first message
 * has its settings, so that it can start before they are known.
 */

export interface WorkerSettings<Name extends Task = Task>
  extends Omit<LoadOptions, 'executionProvider' | 'precision' | 'form' | 'deviceId'>,
    ComputeChoice {
  readonly folder: string;
  /** The task of the checkpoint, as the main thread read it: it sends batches of this task. */
  readonly task: Name;
  /** How long a run may take, as the main thread measures it (worker-thread.ts). */
  readonly runLimitMs?: number;
}

/**
 * Sent to the worker: a batch; that a batch which pauses goes on, or is dropped; `pack` to pack the weights; or `close` to
 * release the session and end the thread.
 */
export type WorkerRequest =
  | (WorkBatch & { readonly id: number })
  | { readonly resumed: number; readonly isWanted: boolean }
  | 'pack'
  | 'close';

/**
 * Sent by the worker: `ready` once, then one answer for each batch. Between its runs, a batch answers that it pauses, and
 * waits until it is resumed; meanwhile the worker takes other batches.
 */
export type WorkerAnswer = ReadyAnswer | WorkResult | PausedAnswer | PackedAnswer | { readonly failure: WorkerFailure };

export interface PackedAnswer {
  /** Time to pack the weights. */
  readonly packMs: number;
}

export interface PausedAnswer {
  readonly paused: true;
}

export interface ReadyAnswer extends ChosenExecutionProvider {
  readonly ready: true;
  /** Time to write the graph, map the weights and open the session. */
  readonly loadMs: number;
}

/** An error as plain data, because a thread boundary keeps no classes. */
export type WorkerFailure =
  | { readonly kind: 'checkpoint'; readonly code: CheckpointErrorCode; readonly message: string }
  | { readonly kind: 'handler'; readonly code: ErrorCode; readonly message: string }
  | { readonly kind: 'dropped' }
  | { readonly kind: 'other'; readonly message: string };

function send(message: WorkerAnswer): void {
  parentPort?.postMessage(message);
}

function describeFailure(error: unknown): WorkerFailure {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  if (error instanceof BatchDropped) return { kind: 'dropped' };
  if (error instanceof CheckpointError) return { kind: 'checkpoint', code: error.code, message };
  if (error instanceof HandlerError) return { kind: 'handler', code: error.code, message };
  return { kind: 'other', message: `${name}: ${message}` };
}

/** @throws CheckpointError when the folder has changed since the main thread read it. */
function openOfTask({ folder, imageSize, task }: WorkerSettings): Checkpoint {
  const checkpoint = openCheckpoint(folder, imageSize);
  if (checkpoint.task === task) return checkpoint;
  const expected = `a checkpoint for ${task}, as at the start of the process`;
  throw new CheckpointError(
    'CHECKPOINT_CONFIG_INVALID',
    `${folder}: expected ${expected}, got one for ${checkpoint.task}.`,
  );
}

type Runs = LoadedSession<WorkKind>['runs'];

/** Checks the kind of a batch before it runs: the sender is another thread, which no compiler looks at. */
async function compute<Kind extends WorkKind>(runs: Partial<Runs>, kind: Kind, batch: BatchOf<Kind>, pause: Pause) {
  const run: Partial<Runs>[Kind] = runs[kind];
  if (run === undefined)
    throw new TypeError(`Expected a batch of kind ${Object.keys(runs).join(' or ')}, got ${kind}.`);
  return { kind, result: await run(batch, pause) };
}

/** The batches that pause. */
class PausedBatches {
  readonly #waiting = new Map<number, (isWanted: boolean) => void>();

  /** Says that a batch pauses, and waits until it is resumed. @throws BatchDropped where it is not wanted any more. */
  async pause(id: number): Promise<void> {
    const resumed = new Promise<boolean>((resolve) => this.#waiting.set(id, resolve));
    send({ paused: true });
    if (!(await resumed)) throw new BatchDropped('Nobody wants the result of this batch any more.');
  }

  resume(id: number, isWanted: boolean): void {
    this.#waiting.get(id)?.(isWanted);
    this.#waiting.delete(id);
  }
}

/** A GPU pays a launch for each operator, so its graphs have few and large ones. A CPU gains nothing by them. */
function formOn({ executionProvider }: ChosenExecutionProvider): GraphForm {
  return executionProvider === 'cuda' ? 'lean' : 'plain';
}

async function pack(session: LoadedSession<WorkKind>): Promise<PackedAnswer> {
  const startMs = performance.now();
  await session.pack();
  return { packMs: performance.now() - startMs };
}

async function serve(settings: WorkerSettings): Promise<void> {
  const checkpoint = openOfTask(settings);
  const choose = checkpoint.quantizedTo !== undefined ? chooseForInt8 : chooseExecutionProvider;
  const chosen = await choose({ ...settings, automatic: automaticPrecisions(checkpoint) });
  const startMs = performance.now();
  const session = await loadSession(checkpoint, { ...settings, ...chosen, form: formOn(chosen) });
  const paused = new PausedBatches();
  parentPort?.on('message', async (request: WorkerRequest) => {
    if (request === 'close') {
      await session.release();
      // Closing the port lets the thread end by itself. Terminating it during a run would abort the process.
      parentPort?.close();
      return;
    }
    if (request === 'pack') {
      send(await pack(session).catch((error: unknown) => ({ failure: describeFailure(error) })));
      return;
    }
    if ('resumed' in request) {
      paused.resume(request.resumed, request.isWanted);
      return;
    }
    const { kind, batch, id } = request;
    const computed = compute(session.runs, kind, batch, () => paused.pause(id));
    send(await computed.catch((error: unknown) => ({ failure: describeFailure(error) })));
  });
  send({ ready: true, ...chosen, loadMs: performance.now() - startMs });
}

parentPort?.once('message', async (settings: WorkerSettings | 'close') => {
  if (settings === 'close') return parentPort?.close();
  parentPort?.ref(); // Without a listener, the port would let the thread end while it loads.
  await serve(settings).catch((error: unknown) => {
    send({ failure: describeFailure(error) });
    parentPort?.close();
  });
});
