import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { checkpointFolder } from '../support/goldens.ts';

/** The main thread never loads onnxruntime: its native library would delay everything that starts after it. */

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs a script as a module of a new process, and returns the names that it prints as JSON. */
function printedNames(script: string, changes: Readonly<Record<string, string>> = {}): readonly string[] {
  const environment = { ...process.env, BLIP_CHECKPOINT: checkpointFolder('narrow-vision'), ...changes };
  const { stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
    cwd: root,
    encoding: 'utf8',
    env: environment,
  });
  const line = stdout.split('\n').find((each) => each.startsWith('['));
  if (line === undefined) throw new Error(`Expected a list on stdout, got none: ${stderr}`);
  return JSON.parse(line) as readonly string[];
}

/** Native libraries of the process, and modules of its main thread, that belong to onnxruntime. */
const found = `
  import { createRequire } from 'node:module';
  const isRuntime = (name) => name.includes('onnxruntime');
  const libraries = () => process.report.getReport().sharedObjects.filter(isRuntime);
  const modules = () => Object.keys(createRequire(import.meta.url).cache).filter(isRuntime);
`;

describe('importing', () => {
  // PORT is invalid, so service.ts ends before it starts a model.
  test.each(['pipeline/settings.ts', 'app.ts', 'handlers/command-line/service.ts'])('%s loads no runtime', (file) => {
    const script = `${found} await import('./${file}'); console.log(JSON.stringify([...libraries(), ...modules()]));`;
    expect(printedNames(script, { PORT: 'none' })).toEqual([]);
  });

  test('pipeline/sessions/runtime.ts loads it, as its library and as a module', () => {
    const script = `${found} await import('./pipeline/sessions/runtime.ts');`;
    expect(printedNames(`${script} console.log(JSON.stringify(libraries()));`)).not.toEqual([]);
    expect(printedNames(`${script} console.log(JSON.stringify(modules()));`)).not.toEqual([]);
  });
});

test('after initialize and an answer, only the worker thread has loaded it', () => {
  const script = `${found}
    const { default: Handler } = await import('./app.ts');
    const handler = new Handler();
    await handler.initialize();
    await handler.infer({ img_url: [(await import('node:fs')).readFileSync('test/fixtures/images/small.png')] });
    const names = { libraries: libraries(), modules: modules() };
    await handler.finalize();
    console.log(JSON.stringify([names.libraries.length > 0 ? 'a library' : 'no library', ...names.modules]));
  `;
  expect(printedNames(script)).toEqual(['a library']);
});
