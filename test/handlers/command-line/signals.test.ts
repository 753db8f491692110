import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';

/** Makes a program the first process of a space of its own, as it is in a container. */
const asFirst = ['--map-root-user', '--pid', '--fork', '--kill-child'];
const canBeFirst = spawnSync('unshare', [...asFirst, 'true']).status === 0;

/** A thread that never ends, and a second signal. */
const program = `
  import { Worker } from 'node:worker_threads';
  import { stopOnSignals } from ${JSON.stringify(new URL('../../../handlers/command-line/signals.ts', import.meta.url).href)};
  stopOnSignals(() => setTimeout(() => process.kill(process.pid, 'SIGINT'), 100));
  new Worker('Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)', { eval: true });
  setTimeout(() => process.kill(process.pid, 'SIGTERM'), 100);
`;
const node = [process.execPath, '--import', 'tsx', '--input-type=module', '--eval', program];

async function endOf([command = '', ...given]: readonly string[]): Promise<readonly unknown[]> {
  const child = spawn(command, given, { stdio: 'ignore', timeout: 20_000, killSignal: 'SIGKILL' });
  return await once(child, 'exit');
}

test('a second signal ends a process whose thread hangs', async () => {
  expect(await endOf(node)).toEqual([null, 'SIGINT']);
});

test.skipIf(!canBeFirst)('it does so for the first process of a container, which the kernel spares', async () => {
  const [exitCode, signal] = await endOf(['unshare', ...asFirst, ...node]);
  expect(signal).not.toBe('SIGKILL'); // Of the time limit.
  expect({ exitCode, signal }).not.toEqual({ exitCode: 0, signal: null });
});
