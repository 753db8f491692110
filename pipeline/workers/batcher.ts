import { FairQueue } from '../fair-queue.ts';
import type { RgbImage } from '../images/rgb-image.ts';
import type { RowBatch, RowResults } from '../sessions/row-batch.ts';
import { Arrivals } from './arrivals.ts';
import type { BatchRunner } from './batch-runner.ts';

/** Rows about one image. They stay together, so that the image passes through the vision model once. */
export interface RowGroup<Row, Settings> {
  readonly image: RgbImage;
  readonly rows: readonly Row[];
  readonly settings: Settings;
  /** Whose group it is: clients take turns. */
  readonly client?: string | undefined;
  /** The cost of the group, in a unit that all groups share; its number of rows where this is absent. */
  readonly work?: number;
  /** The other images of its request that are loaded. The group waits for them for a time, to share their batch. */
  readonly arrivals?: Arrivals | undefined;
  /** While the group waits, it leaves when this aborts. */
  readonly signal?: AbortSignal | undefined;
  /** Called when a worker takes the batch that has the group, with the number of rows of all groups in the batch. */
  readonly computing?: ((rowCount: number) => void) | undefined;
}

export interface GroupResult<Result> extends RowResults<Result> {
  readonly queueMs: number;
}

export interface BatcherOptions {
  readonly maxBatchSize: number;
  /** How long the first group of a batch waits for others. */
  readonly batchWindowMs: number;
}

interface Waiting<Row, Settings, Result> {
  readonly group: RowGroup<Row, Settings>;
  /** Groups with equal keys have equal settings. */
  readonly key: string;
  readonly arrivedMs: number;
  readonly resolve: (result: GroupResult<Result>) => void;
  readonly reject: (error: unknown) => void;
  readonly withdraw: () => void;
  /** Its batch left, on another worker: it waits for nothing but a worker. */
  isReleased: boolean;
}

/**
 * Collects groups with equal settings into batches. A batch leaves when the runner has room and the batch is full, or one
 * of its groups has waited long enough: for the window, and for images of its own request that are loaded (arrivals.ts).
 * After the window no group waits for images of other requests. Where several workers are idle they share the batch, because
 * each has processors of its own. Clients take turns by work; of several batches that may leave, the one with the group
 * whose turn it is comes first. Groups of several clients may share a batch, which changes no answer. Prompts of any length
 * share a batch (docs/decisions/0004).
 */
export class Batcher<Row extends object, Settings, Result> {
  readonly #runner: BatchRunner<RowBatch<Row, Settings>, RowResults<Result>>;
  readonly #options: BatcherOptions;
  readonly #waiting = new FairQueue<Waiting<Row, Settings, Result>>();
  #timer: NodeJS.Timeout | undefined;
  #change: NodeJS.Immediate | undefined;
  /** The time of the last run; before the first one, more than any wait. */
  #runMs = Number.POSITIVE_INFINITY;

  constructor(runner: BatchRunner<RowBatch<Row, Settings>, RowResults<Result>>, options: BatcherOptions) {
    this.#runner = runner;
    this.#options = options;
    runner.onRoom(() => this.#dispatch());
  }

  /** The images of a request, to be announced before the first of its groups is submitted. */
  expect(): Arrivals {
    return new Arrivals(() => this.#dispatchSoon());
  }

  /** @throws the reason of the group's signal, when it aborts before the group is in a batch. */
  submit(group: RowGroup<Row, Settings>): Promise<GroupResult<Result>> {
    return new Promise((resolve, reject) => {
      group.signal?.throwIfAborted();
      const member: Waiting<Row, Settings, Result> = {
        group,
        key: JSON.stringify(group.settings),
        arrivedMs: performance.now(),
        resolve,
        reject,
        withdraw: () => this.#withdraw(member),
        isReleased: false,
      };
      this.#waiting.add(member, group.client, group.work ?? group.rows.length);
      group.signal?.addEventListener('abort', member.withdraw, { once: true });
      this.#dispatch();
    });
  }

  #withdraw(member: Waiting<Row, Settings, Result>): void {
    this.#waiting.withdraw(member);
    member.reject(member.group.signal?.reason);
  }

  /** An image that finds memory at once passes through several steps in one turn of the event loop: the last one counts. */
  #dispatchSoon(): void {
    this.#change ??= setImmediate(() => this.#dispatch());
  }

  #dispatch(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#change);
    this.#timer = undefined;
    this.#change = undefined;
    if (this.#waiting.size === 0 || !this.#runner.hasRoom()) return;
    const waiting = this.#waiting.inTurn().filter(({ group }) => this.#runner.hasRoomFor(group.client));
    if (waiting.length === 0) return;
    const nowMs = performance.now();
    const candidates = withTimes(waiting, this.#options.batchWindowMs, this.#runMs);
    const batch = nextBatch(candidates, this.#options.maxBatchSize, nowMs);
    if (batch === undefined) {
      const nextMs = candidates.reduce((earliest, { dueMs }) => Math.min(earliest, dueMs), Number.POSITIVE_INFINITY);
      this.#timer = setTimeout(() => this.#dispatch(), nextMs - nowMs);
      return;
    }
    for (const { member } of batch) member.isReleased = true;
    const share = fitting(batch, Math.ceil(rowCount(batch) / Math.max(1, this.#runner.idleCount())));
    const members = share.map(({ member }) => member);
    for (const member of members) {
      this.#waiting.take(member);
      // A signal outlives the batch, and its listener would keep the pixels.
      member.group.signal?.removeEventListener('abort', member.withdraw);
      member.group.computing?.(rowCount(share));
    }
    void this.#run(members);
    this.#dispatch();
  }

  async #run(members: readonly Waiting<Row, Settings, Result>[]): Promise<void> {
    const startMs = performance.now();
    try {
      const groups = members.map(({ group }) => group);
      const { results, ...times } = await this.#runner.run(joinGroups(groups), {
        clients: groups.map(({ client }) => client),
        isWanted: () => groups.some(({ signal }) => signal?.aborted !== true),
      });
      this.#runMs = performance.now() - startMs;
      let firstRow = 0;
      for (const { group, arrivedMs, resolve } of members) {
        const end = firstRow + group.rows.length;
        resolve({ ...times, results: results.slice(firstRow, end), queueMs: startMs - arrivedMs });
        firstRow = end;
      }
    } catch (error) {
      for (const { reject, group } of members) reject(group.signal?.aborted ? group.signal.reason : error);
    }
  }
}

/** The parts of a waiting group that decide about its batch. */
interface Member {
  readonly group: { readonly rows: readonly unknown[]; readonly arrivals?: Arrivals | undefined };
  readonly key: string;
  readonly arrivedMs: number;
  readonly isReleased: boolean;
}

interface Candidate<Each> {
  readonly member: Each;
  readonly key: string;
  readonly rowCount: number;
  /** When it leaves, though its batch is not full. */
  readonly dueMs: number;
}

/** @param waiting in the order of their turns, which the result keeps. */
function withTimes<Each extends Member>(
  waiting: readonly Each[],
  batchWindowMs: number,
  runMs: number,
): readonly Candidate<Each>[] {
  const requestDueMs = dueTimes(waiting, runMs);
  return waiting.map((member) => {
    const { group, key, arrivedMs, isReleased } = member;
    const dueMs = isReleased ? 0 : Math.max(arrivedMs + batchWindowMs, requestDueMs.get(group.arrivals) ?? 0);
    return { member, key, rowCount: group.rows.length, dueMs };
  });
}

/** When the groups of each request have waited long enough for its images; a request may have hundreds of either. */
function dueTimes(waiting: readonly Member[], runMs: number): ReadonlyMap<Arrivals | undefined, number> {
  const firstMs = new Map<Arrivals | undefined, number>();
  for (const { group, arrivedMs } of waiting)
    firstMs.set(group.arrivals, Math.min(arrivedMs, firstMs.get(group.arrivals) ?? arrivedMs));
  return new Map([...firstMs].map(([arrivals, ms]) => [arrivals, ms + (arrivals?.limitMs(runMs) ?? 0)]));
}

/**
 * Forms a batch of each key's groups, and returns the first that is full or has waited long enough.
 * @param waiting in the order of their turns.
 */
function nextBatch<Each>(
  waiting: readonly Candidate<Each>[],
  maxBatchSize: number,
  nowMs: number,
): readonly Candidate<Each>[] | undefined {
  for (const key of new Set(waiting.map((each) => each.key))) {
    const equal = waiting.filter((each) => each.key === key);
    const members = fitting(equal, maxBatchSize);
    const isFull = rowCount(members) >= maxBatchSize || members.length < equal.length;
    if (isFull || members.some(({ dueMs }) => dueMs <= nowMs)) return members;
  }
  return undefined;
}

/** The first group and all later ones that fit beside it. A group larger than a batch goes alone. */
function fitting<Each extends { readonly rowCount: number }>(
  [first, ...later]: readonly Each[],
  maxBatchSize: number,
): readonly Each[] {
  const members = first === undefined ? [] : [first];
  for (const candidate of later) if (rowCount(members) + candidate.rowCount <= maxBatchSize) members.push(candidate);
  return members;
}

function rowCount(members: readonly { readonly rowCount: number }[]): number {
  return members.reduce((count, member) => count + member.rowCount, 0);
}

function joinGroups<Row extends object, Settings>(groups: readonly RowGroup<Row, Settings>[]): RowBatch<Row, Settings> {
  const [first] = groups;
  if (first === undefined) throw new RangeError('Expected at least one group.');
  return {
    images: groups.map(({ image }) => image),
    clients: groups.map(({ client }) => client),
    rows: groups.flatMap(({ rows }, image) => rows.map((row) => ({ ...row, image }))),
    settings: first.settings,
  };
}
