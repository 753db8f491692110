import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { checkpointFolder } from '../support/goldens.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** onnxruntime keeps its telemetry in the home folder until it can send it. */

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Loads a model in a process with an empty home folder, and returns the files that are there afterwards. The process has
 * few variables, because under CI the runtime turns its telemetry off by itself.
 */
function filesAtHome(changes: Readonly<Record<string, string>>): readonly string[] {
  const home = temporaryFolder();
  const script = `
    const { Handler } = await import('./app.ts');
    const handler = new Handler();
    await handler.initialize();
    await handler.finalize();`;
  const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
    cwd: root,
    encoding: 'utf8',
    env: {
      PATH: process.env['PATH'],
      HOME: home,
      XDG_CACHE_HOME: `${home}/.cache`,
      BLIP_CHECKPOINT: checkpointFolder('narrow-vision'),
      ...changes,
    },
  });
  if (status !== 0) throw new Error(`Expected the model to load, got: ${stderr}`);
  return readdirSync(home, { recursive: true, encoding: 'utf8' }).filter((path) => path.includes('onnxruntime'));
}

test("the runtime's telemetry is off, unless somebody turns it on", () => {
  expect(filesAtHome({})).toEqual([]);
  expect(filesAtHome({ ORT_DISABLE_TELEMETRY: '0' })).not.toEqual([]);
});
