import { HandlerError } from '../protocol/errors.ts';
import type { RgbImage } from './image-decode.ts';

/** Memory for decoded images: docs/decisions/0012-memory-and-tokens.md. */

/** Bytes that may be held at a time. Whoever wants more waits, first come, first served. */
export interface ByteBudget {
  /**
   * Waits until so many bytes are free, and takes them.
   * @returns what gives them back; to be called once.
   * @throws HandlerError `IMAGE_TOO_LARGE` when there can never be so many.
   */
  acquire(byteCount: number): Promise<() => void>;
}

export function createByteBudget(capacityBytes: number): ByteBudget {
  const waiting: { readonly byteCount: number; readonly resolve: (release: () => void) => void }[] = [];
  let freeBytes = capacityBytes;
  const serve = () => {
    for (let [next] = waiting; next !== undefined && next.byteCount <= freeBytes; [next] = waiting) {
      const { byteCount, resolve } = next;
      waiting.shift();
      freeBytes -= byteCount;
      resolve(() => {
        freeBytes += byteCount;
        serve();
      });
    }
  };
  return {
    acquire: (byteCount) =>
      new Promise((resolve, reject) => {
        if (byteCount > capacityBytes) return reject(tooMuch(byteCount, capacityBytes));
        waiting.push({ byteCount, resolve });
        serve();
      }),
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
 */
export function jointBudgets(budget: ByteBudget, count: number): readonly JointBudget[] {
  const members = Array.from({ length: count }, createAsking);
  const acquired = Promise.all(members.map(({ asked }) => asked)).then((byteCounts) =>
    budget.acquire(byteCounts.reduce((sum, byteCount) => sum + byteCount, 0)),
  );
  acquired.catch(() => undefined); // Whoever asked has it; perhaps nobody did.
  let holderCount = 0;
  const releaseOne = async () => {
    holderCount -= 1;
    if (holderCount === 0) (await acquired)();
  };
  return members.map(({ ask }) => ({
    async acquire(byteCount) {
      holderCount += 1;
      ask(byteCount);
      await acquired;
      return () => void releaseOne();
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
