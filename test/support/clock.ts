import { vi } from 'vitest';

/**
 * Has `performance.now()` of this process jump ahead, until the test ends, for code that compares times again and again.
 * Timers are left alone: for code that waits for one, use vi.useFakeTimers.
 */
export function jumpClock(aheadMs: number): void {
  const now = performance.now.bind(performance);
  vi.spyOn(performance, 'now').mockImplementation(() => now() + aheadMs);
}
