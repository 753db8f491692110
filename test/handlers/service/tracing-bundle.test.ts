import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { type Bundle, copyDist, startServerProcess } from '../../support/bundle.ts';
import { bytes, dataUri, postInference, send } from '../../support/server.ts';

/** The bundled server beside OpenTelemetry, beside a broken one, and beside none. */

const needed = ['onnxruntime-node', 'onnxruntime-common', 'sharp', '@img', 'detect-libc', 'semver'];

const bundle = builtBundle();

/** Copies dist/ beside its native packages and these, and nothing else. */
function copy(packages: readonly string[] = []): Bundle {
  const copied = copyDist(bundle, [...needed, ...packages]);
  onTestFinished(() => copied.remove());
  return copied;
}

/** Starts the server, asks it once, and stops it. */
async function askOnce(started: Bundle, variables: Readonly<Record<string, string>> = {}) {
  const server = await startServerProcess(started, variables);
  const answer = await postInference(server.url, { inputs: [bytes('img_url', [dataUri('small')])] });
  const { text: metrics } = await send(server.url, { path: '/metrics' });
  server.kill('SIGTERM');
  const { exitCode, stderr } = await server.exit;
  expect({ status: answer.status, exitCode }).toEqual({ status: 200, exitCode: 0 });
  expect(metrics).toMatch(/^process_cpu_user_seconds_total \d/m); // prom-client imports the API too.
  return { log: server.log(), stderr };
}

const complaints = (log: readonly Readonly<Record<string, unknown>>[]) =>
  log.filter(({ level }) => Number(level) > 30).map(({ msg }) => msg);

test('works without the API, and the bundle contains none of it', async () => {
  const { log, stderr } = await askOnce(copy());
  expect([complaints(log), stderr]).toEqual([[], '']);
  const files = readdirSync(join(bundle.folder, 'dist')).filter((name) => name.endsWith('.js'));
  const withApi = files.filter((name) => readFileSync(join(bundle.folder, 'dist', name), 'utf8').includes('js.api.'));
  expect(files.length).toBeGreaterThan(10);
  expect(withApi).toEqual([]); // The API registers itself under this name.
});

describe('an API that does not load', () => {
  test.each([
    ['its main file is missing', 'gone.js'],
    ['it imports a missing package', 'incomplete.js'],
    ['it throws', 'throwing.js'],
  ])('is reported in the log, and the service works: %s', async (_, main) => {
    const copied = copy();
    const folder = join(copied.folder, 'node_modules/@opentelemetry/api');
    mkdirSync(folder, { recursive: true });
    const description = { name: '@opentelemetry/api', version: '1.9.1', type: 'module', exports: `./${main}` };
    writeFileSync(join(folder, 'package.json'), JSON.stringify(description));
    writeFileSync(join(folder, 'incomplete.js'), "import '@opentelemetry/nothing';");
    writeFileSync(join(folder, 'throwing.js'), "throw new Error('broken');");
    const { log } = await askOnce(copied);
    expect(complaints(log)).toEqual(['@opentelemetry/api is installed and does not load: no spans']);
  });
});

test('writes spans with an SDK, and their trace into the log', async () => {
  const copied = copy(['@opentelemetry']);
  const instrumentation = join(copied.folder, 'instrumentation.mjs');
  writeFileSync(
    instrumentation,
    `import { NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
     const write = (span) => process.stderr.write(JSON.stringify([span.name, span.spanContext().traceId]) + '\\n');
     const exporter = { export: (spans, done) => { spans.forEach(write); done({ code: 0 }); }, shutdown: async () => {} };
     new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();`,
  );
  const { log, stderr } = await askOnce(copied, { NODE_OPTIONS: `--import=${pathToFileURL(instrumentation)}` });
  expect(complaints(log)).toEqual([]);
  const spans: readonly (readonly string[])[] = stderr.trim().split('\n').map(parseLine);
  const [, traceId] = spans.find(([name]) => name === 'POST /v2/models/:model/infer') ?? [];
  const inside = spans.filter(([, trace]) => trace === traceId).map(([name]) => name);
  expect(inside).toEqual(expect.arrayContaining(['fetch', 'inspect', 'decode', 'queue', 'run']));
  expect(log).toContainEqual(expect.objectContaining({ msg: 'request completed', traceId }));
});

function parseLine(line: string): string[] {
  return JSON.parse(line);
}
