import type {
  GeneratedSequence,
  GenerationBatch,
  GenerationResult,
  GenerationRow,
  SharedSettings,
} from './generation-model.ts';
import type { RgbImage } from './image-decode.ts';

/** Captions wanted of one image. They stay together, so that the image passes through the vision model once. */
export interface RowGroup {
  readonly image: RgbImage;
  readonly rows: readonly Omit<GenerationRow, 'image'>[];
  readonly settings: SharedSettings;
  /** While the group waits, it leaves when this aborts. */
  readonly signal?: AbortSignal | undefined;
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
  /** Rows that wait. */
  queuedRows(): number;
}

interface Waiting {
  readonly group: RowGroup;
  readonly key: string;
  readonly arrivedMs: number;
  readonly resolve: (result: GroupResult) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Collects groups with equal settings into batches. A batch leaves when it is full, or when its oldest group has
 * waited for the window, and the runner has room. Prompts of any length share a batch (docs/decisions/0004).
 */
export function createBatcher(runner: BatchRunner, options: BatcherOptions): Batcher {
  const waiting: Waiting[] = [];
  let timer: NodeJS.Timeout | undefined;

  const dispatch = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const oldest = waiting[0];
    if (oldest === undefined || !runner.hasRoom()) return;
    const members = nextBatch(waiting, options.maxBatchSize);
    const waitedMs = performance.now() - oldest.arrivedMs;
    const isFull = rowCount(members) >= options.maxBatchSize || members.length < waiting.length;
    if (!isFull && waitedMs < options.batchWindowMs) {
      timer = setTimeout(dispatch, options.batchWindowMs - waitedMs);
      return;
    }
    for (const member of members) waiting.splice(waiting.indexOf(member), 1);
    void runMembers(runner, members);
    dispatch();
  };
  runner.onRoom(dispatch);
  const withdraw = (member: Waiting): void => {
    const place = waiting.indexOf(member);
    if (place === -1) return; // It is being computed.
    waiting.splice(place, 1);
    member.reject(member.group.signal?.reason);
  };

  return {
    submit: (group) =>
      new Promise((resolve, reject) => {
        group.signal?.throwIfAborted();
        const key = JSON.stringify(group.settings);
        const member = { group, key, arrivedMs: performance.now(), resolve, reject };
        waiting.push(member);
        group.signal?.addEventListener('abort', () => withdraw(member), { once: true });
        dispatch();
      }),
    queuedRows: () => rowCount(waiting),
  };
}

/** The oldest group and all later ones that fit beside it. A group larger than a batch goes alone. */
function nextBatch(waiting: readonly Waiting[], maxBatchSize: number): readonly Waiting[] {
  const [oldest, ...later] = waiting;
  if (oldest === undefined) return [];
  const members = [oldest];
  for (const candidate of later) {
    const fits = rowCount(members) + candidate.group.rows.length <= maxBatchSize;
    if (candidate.key === oldest.key && fits) members.push(candidate);
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
