import { FairQueue } from '../fair-queue.ts';
import type { RgbImage } from '../images/rgb-image.ts';
import type { RowBatch, RowResults } from '../sessions/row-batch.ts';
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
}

/**
 * Collects groups with equal settings into batches. A batch leaves when the runner has room and the batch is full, or
 * its oldest group has waited for the window. Clients take turns by work; of several batches that may leave, the one with
 * the group whose turn it is comes first. Groups of several clients may share a batch, which changes no answer. Prompts of
 * any length share a batch (docs/decisions/0004).
 */
export class Batcher<Row extends object, Settings, Result> {
  readonly #runner: BatchRunner<RowBatch<Row, Settings>, RowResults<Result>>;
  readonly #options: BatcherOptions;
  readonly #waiting = new FairQueue<Waiting<Row, Settings, Result>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(runner: BatchRunner<RowBatch<Row, Settings>, RowResults<Result>>, options: BatcherOptions) {
    this.#runner = runner;
    this.#options = options;
    runner.onRoom(() => this.#dispatch());
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

  #dispatch(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#waiting.size === 0 || !this.#runner.hasRoom()) return;
    const waiting = this.#waiting.inTurn().filter(({ group }) => this.#runner.hasRoomFor(group.client));
    if (waiting.length === 0) return;
    const nowMs = performance.now();
    const members = nextBatch(waiting, this.#options, nowMs);
    if (members === undefined) {
      const oldestMs = oldestArrivalMs(waiting);
      this.#timer = setTimeout(() => this.#dispatch(), oldestMs + this.#options.batchWindowMs - nowMs);
      return;
    }
    for (const member of members) {
      this.#waiting.take(member);
      // A signal outlives the batch, and its listener would keep the pixels.
      member.group.signal?.removeEventListener('abort', member.withdraw);
      member.group.computing?.(rowCount(members));
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
interface Candidate {
  readonly group: { readonly rows: readonly unknown[] };
  readonly key: string;
  readonly arrivedMs: number;
}

/**
 * Forms a batch of each key's groups, and returns the first that is full or has waited long enough.
 * @param waiting in the order of their turns.
 */
function nextBatch<Member extends Candidate>(
  waiting: readonly Member[],
  { maxBatchSize, batchWindowMs }: BatcherOptions,
  nowMs: number,
): readonly Member[] | undefined {
  for (const key of new Set(waiting.map((each) => each.key))) {
    const equal = waiting.filter((each) => each.key === key);
    const members = fitting(equal, maxBatchSize);
    const isFull = rowCount(members) >= maxBatchSize || members.length < equal.length;
    const waitedMs = nowMs - oldestArrivalMs(equal);
    if (isFull || waitedMs >= batchWindowMs) return members;
  }
  return undefined;
}

/** The first group and all later ones that fit beside it. A group larger than a batch goes alone. */
function fitting<Member extends Candidate>(
  [first, ...later]: readonly Member[],
  maxBatchSize: number,
): readonly Member[] {
  const members = first === undefined ? [] : [first];
  for (const candidate of later) {
    if (rowCount(members) + candidate.group.rows.length <= maxBatchSize) members.push(candidate);
  }
  return members;
}

function oldestArrivalMs(members: readonly Candidate[]): number {
  return members.reduce((oldestMs, { arrivedMs }) => Math.min(oldestMs, arrivedMs), Number.POSITIVE_INFINITY);
}

function rowCount(members: readonly Candidate[]): number {
  return members.reduce((count, { group }) => count + group.rows.length, 0);
}

function joinGroups<Row extends object, Settings>(groups: readonly RowGroup<Row, Settings>[]): RowBatch<Row, Settings> {
  const [first] = groups;
  if (first === undefined) throw new RangeError('Expected at least one group.');
  return {
    images: groups.map(({ image }) => image),
    rows: groups.flatMap(({ rows }, image) => rows.map((row) => ({ ...row, image }))),
    settings: first.settings,
  };
}
