import { setTimeout as wait } from 'node:timers/promises';
import type { ConnectionTimeouts } from '../../network/proxy-connections.ts';
import { gaveUp, type Inquiry, PassingFailure } from './failures.ts';

export interface HubLimits extends ConnectionTimeouts {
  /** The most attempts in a row that bring nothing new. */
  readonly attempts: number;
  /** Before the second attempt; each further wait is twice as long. */
  readonly retryDelayMs: number;
  /** A server that asks for a longer wait is given up. */
  readonly longestRetryAfterMs: number;
  /**
   * A half-written file that was not touched for so long belongs to nobody. After a `kill -9` the next download waits
   * until then; a download touches its file more often.
   */
  readonly abandonedAfterMs: number;
}

export const defaultHubLimits: HubLimits = {
  connectTimeoutMs: 10_000,
  stallTimeoutMs: 30_000,
  attempts: 5,
  retryDelayMs: 1_000,
  longestRetryAfterMs: 120_000,
  abandonedAfterMs: 10_000,
};

export interface AttemptOptions {
  readonly inquiry: Inquiry;
  readonly limits: HubLimits;
  readonly signal: AbortSignal;
  /** Takes a line for each failure that is tried again. */
  readonly onNotice: (line: string) => void;
}

/**
 * Runs an action until it succeeds, as long as its failures may pass. The action calls `progressed` when it has fetched
 * something that need not be fetched again, because only attempts that bring nothing are counted.
 * @throws CheckpointError `CHECKPOINT_DOWNLOAD_FAILED` after the last attempt; other errors of the action.
 */
export async function withRetries<T>(
  action: (progressed: () => void) => Promise<T>,
  options: AttemptOptions,
): Promise<T> {
  const { inquiry, limits, signal, onNotice } = options;
  let failures = 0;
  for (;;) {
    try {
      return await action(() => {
        failures = 0;
      });
    } catch (thrown) {
      if (!(thrown instanceof PassingFailure)) throw thrown;
      failures += 1;
      const delayMs = delayBefore(thrown, failures, limits);
      if (failures >= limits.attempts || delayMs > limits.longestRetryAfterMs) {
        throw gaveUp(inquiry, thrown, failures);
      }
      onNotice(`${inquiry.subject}: got ${thrown.message}; trying again in ${(delayMs / 1000).toFixed(1)} s.`);
      await wait(delayMs, undefined, { signal });
    }
  }
}

/** Varies by a quarter, so that clients that failed together do not return together. */
function delayBefore({ retryAfterMs }: PassingFailure, failures: number, { retryDelayMs }: HubLimits): number {
  return retryAfterMs ?? retryDelayMs * 2 ** (failures - 1) * (0.75 + Math.random() / 2);
}
