import { HandlerError } from '../../protocol/errors.ts';
import type { RgbImage } from './image-decode.ts';

/** Memory for images: docs/decisions/0012-memory-and-tokens.md. */

/** Bytes that may be held at a time. Whoever wants more waits, first come, first served. */
export interface ByteBudget {
  /** Whether `acquire` waits until other images have asked too. They must be able to be loaded meanwhile. */
  readonly isJoint?: true;
  /**
   * Waits until so many bytes are free, and takes them.
   * @returns what gives them back; to call it again changes nothing.
   * @throws HandlerError `IMAGE_TOO_LARGE` when there can never be so many; the signal's reason when it aborts before,
   *   and the place in the queue is free.
   */
  acquire(byteCount: number, signal?: AbortSignal): Promise<() => void>;
}

export function createByteBudget(capacityBytes: number): ByteBudget {
  const waiting: { readonly byteCount: number; readonly take: () => void }[] = [];
  let freeBytes = capacityBytes;
  const serve = () => {
    for (let [next] = waiting; next !== undefined && next.byteCount <= freeBytes; [next] = waiting) {
      waiting.shift();
      freeBytes -= next.byteCount;
      next.take();
    }
  };
  const release = (byteCount: number) => {
    freeBytes += byteCount;
    serve();
  };
  return {
    acquire: (byteCount, signal) =>
      new Promise((resolve, reject) => {
        if (byteCount > capacityBytes) return reject(tooMuch(byteCount, capacityBytes));
        if (signal?.aborted) return reject(signal.reason);
        const withdraw = () => {
          waiting.splice(waiting.indexOf(asking), 1);
          reject(signal?.reason);
          serve(); // Those behind it may need less.
        };
        const take = () => {
          signal?.removeEventListener('abort', withdraw);
          resolve(once(() => release(byteCount)));
        };
        const asking = { byteCount, take };
        waiting.push(asking);
        signal?.addEventListener('abort', withdraw, { once: true });
        serve();
      }),
  };
}

function once(act: () => void): () => void {
  let done = false;
  return () => {
    if (!done) act();
    done = true;
  };
}

function tooMuch(byteCount: number, capacityBytes: number): HandlerError {
  return new HandlerError(
    'IMAGE_TOO_LARGE',
    `Expected the images that are needed at once to take at most ${capacityBytes} bytes decoded, got ${byteCount}.`,
  );
}

const budgets = new Map<number, ByteBudget>();

/** The budget of the process: models with the same limit share it, because they share the memory. */
export function sharedByteBudget(capacityBytes: number): ByteBudget {
  const budget = budgets.get(capacityBytes) ?? createByteBudget(capacityBytes);
  budgets.set(capacityBytes, budget);
  return budget;
}

/** One image's part of what several acquire together. */
export interface JointBudget extends ByteBudget {
  /** Lets the others go on without it, where it has not acquired yet. */
  withdraw(): void;
}

/**
 * The budgets of `count` images that are needed at once. None gets its bytes before all have asked or withdrawn; then
 * all get them, or all are refused. If each took its own, two requests could hold a half each and wait for the other.
 * @param signal of their request; when it aborts while they wait, none gets any.
 */
export function jointBudgets(budget: ByteBudget, count: number, signal?: AbortSignal): readonly JointBudget[] {
  const members = Array.from({ length: count }, createAsking);
  const acquired = Promise.all(members.map(({ asked }) => asked)).then((byteCounts) =>
    budget.acquire(
      byteCounts.reduce((sum, byteCount) => sum + byteCount, 0),
      signal,
    ),
  );
  acquired.catch(() => undefined); // Whoever asked has it; perhaps nobody did.
  let holderCount = 0;
  const releaseOne = async () => {
    holderCount -= 1;
    if (holderCount === 0) (await acquired)();
  };
  return members.map(({ ask }) => ({
    isJoint: true,
    async acquire(byteCount) {
      holderCount += 1;
      ask(byteCount);
      await acquired;
      return once(() => void releaseOne());
    },
    withdraw: () => ask(0),
  }));
}

/** A number of bytes that is said later; only the first counts. */
function createAsking() {
  let ask: (byteCount: number) => void = () => undefined;
  const asked = new Promise<number>((resolve) => {
    ask = resolve;
  });
  return { ask, asked };
}

/** What gives back the memory of an image: beside it and not in it, because images are plain data that crosses threads. */
const releases = new WeakMap<RgbImage, () => void>();

/** Decodes an image whose bytes were acquired; it holds them until `releaseImages`. */
export async function decodeHolding(decode: () => Promise<RgbImage>, release: () => void): Promise<RgbImage> {
  try {
    const image = await decode();
    releases.set(image, release);
    return image;
  } catch (thrown) {
    release();
    throw thrown;
  }
}

/** Gives back the memory of images that nobody needs any more; one that has none is left alone. */
export function releaseImages(images: readonly RgbImage[]): void {
  for (const image of images) {
    releases.get(image)?.();
    releases.delete(image);
  }
}
