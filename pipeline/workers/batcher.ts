import type { RgbImage } from '../images/image-decode.ts';
import type {
  GeneratedSequence,
  GenerationBatch,
  GenerationResult,
  GenerationRow,
  SharedSettings,
} from '../sessions/generation-session.ts';

/** Captions wanted of one image. They stay together, so that the image passes through the vision model once. */
export interface RowGroup {
  readonly image: RgbImage;
  readonly rows: readonly Omit<GenerationRow, 'image'>[];
  readonly settings: SharedSettings;
  /** While the group waits, it leaves when this aborts. */
  readonly signal?: AbortSignal | undefined;
  /** Is called when it is in a batch that a worker takes, with the rows of all groups in that. */
  readonly onComputing?: ((rowCount: number) => void) | undefined;
}

export interface GroupResult {
  /** For each row, its sequences. */
  readonly sequences: readonly (readonly GeneratedSequence[])[];
  readonly queueMs: number;
  readonly resizeMs: number;
  readonly computeMs: number;
}

export interface BatcherOptions {
  readonly maxBatchSize: number;
  /** How long the first group of a batch waits for others. */
  readonly batchWindowMs: number;
}

/** What computes batches, as many at a time as there is room for. */
export interface BatchRunner {
  hasRoom(): boolean;
  /** Calls back whenever there comes to be room. */
  onRoom(listener: () => void): void;
  run(batch: GenerationBatch): Promise<GenerationResult>;
}

export interface Batcher {
  /** @throws the reason of the group's signal, when it aborts before the group is in a batch. */
  submit(group: RowGroup): Promise<GroupResult>;
}

interface Waiting {
  readonly group: RowGroup;
  readonly key: string;
  readonly arrivedMs: number;
  readonly resolve: (result: GroupResult) => void;
  readonly reject: (error: unknown) => void;
  readonly withdraw: () => void;
}

/**
 * Collects groups with equal settings into batches. A batch leaves when it is full, or when its oldest group has
 * waited for the window, and the runner has room; of several that may leave, the one of the oldest group is first.
 * Prompts of any length share a batch (docs/decisions/0004).
 */
export function createBatcher(runner: BatchRunner, options: BatcherOptions): Batcher {
  const waiting: Waiting[] = [];
  let timer: NodeJS.Timeout | undefined;

  const dispatch = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const oldest = waiting[0];
    if (oldest === undefined || !runner.hasRoom()) return;
    const nowMs = performance.now();
    const members = nextBatch(waiting, options, nowMs);
    if (members === undefined) {
      timer = setTimeout(dispatch, oldest.arrivedMs + options.batchWindowMs - nowMs);
      return;
    }
    for (const member of members) {
      waiting.splice(waiting.indexOf(member), 1);
      // A signal outlives the batch, and would keep the pixels with its listener.
      member.group.signal?.removeEventListener('abort', member.withdraw);
      member.group.onComputing?.(rowCount(members));
    }
    void runMembers(runner, members);
    dispatch();
  };
  runner.onRoom(dispatch);
  const withdraw = (member: Waiting): void => {
    waiting.splice(waiting.indexOf(member), 1);
    member.reject(member.group.signal?.reason);
  };

  return {
    submit: (group) =>
      new Promise((resolve, reject) => {
        group.signal?.throwIfAborted();
        const key = JSON.stringify(group.settings);
        const arrivedMs = performance.now();
        const member: Waiting = { group, key, arrivedMs, resolve, reject, withdraw: () => withdraw(member) };
        waiting.push(member);
        group.signal?.addEventListener('abort', member.withdraw, { once: true });
        dispatch();
      }),
  };
}

/** Of the groups of each key, the batch that comes next; the first of them that is full or has waited long enough. */
function nextBatch(
  waiting: readonly Waiting[],
  { maxBatchSize, batchWindowMs }: BatcherOptions,
  nowMs: number,
): readonly Waiting[] | undefined {
  for (const key of new Set(waiting.map((each) => each.key))) {
    const equal = waiting.filter((each) => each.key === key);
    const members = fitting(equal, maxBatchSize);
    const isFull = rowCount(members) >= maxBatchSize || members.length < equal.length;
    const waitedMs = nowMs - (equal[0]?.arrivedMs ?? nowMs);
    if (isFull || waitedMs >= batchWindowMs) return members;
  }
  return undefined;
}

/** The oldest group and all later ones that fit beside it. A group larger than a batch goes alone. */
function fitting([oldest, ...later]: readonly Waiting[], maxBatchSize: number): readonly Waiting[] {
  const members = oldest === undefined ? [] : [oldest];
  for (const candidate of later) {
    if (rowCount(members) + candidate.group.rows.length <= maxBatchSize) members.push(candidate);
  }
  return members;
}

function rowCount(members: readonly Waiting[]): number {
  return members.reduce((count, { group }) => count + group.rows.length, 0);
}

async function runMembers(runner: BatchRunner, members: readonly Waiting[]): Promise<void> {
  const startMs = performance.now();
  try {
    const { sequences, resizeMs, computeMs } = await runner.run(joinGroups(members.map(({ group }) => group)));
    let firstRow = 0;
    for (const { group, arrivedMs, resolve } of members) {
      const own = sequences.slice(firstRow, firstRow + group.rows.length);
      firstRow += group.rows.length;
      resolve({ sequences: own, queueMs: startMs - arrivedMs, resizeMs, computeMs });
    }
  } catch (error) {
    for (const { reject } of members) reject(error);
  }
}

function joinGroups(groups: readonly RowGroup[]): GenerationBatch {
  const [first] = groups;
  if (first === undefined) throw new RangeError('Expected at least one group.');
  return {
    images: groups.map(({ image }) => image),
    rows: groups.flatMap(({ rows }, image) => rows.map((row) => ({ ...row, image }))),
    settings: first.settings,
  };
}
