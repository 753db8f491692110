import { spawnSync } from 'node:child_process';
import { test } from 'vitest';

/**
 * Declares a test that needs a program of the system. Without it the test is skipped, and its name says so; in continuous
 * integration, where .ci/run installs it, the test fails.
 */
export function requiresProgram(program: string): DeclareTest {
  const isThere = spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
  if (isThere) return (name, work, timeoutMs) => test(name, work, timeoutMs);
  if (process.env['CI'] === 'true')
    return (name) =>
      test(name, () => {
        throw new Error(`Expected ${program} to be installed, as .ci/run does, got none.`);
      });
  return (name) => test.skip(`${name} (skipped: this machine has no ${program})`, () => undefined);
}

type TestFunction = () => void | Promise<void>;
type DeclareTest = (name: string, work: TestFunction, timeoutMs?: number) => void;
