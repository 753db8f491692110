import { afterEach, vi } from 'vitest';

/** vitest runs this file before each test file. As files share a process, no change to it may outlive its test. */
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.unstubAllEnvs();
});
