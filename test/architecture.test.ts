import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { exceededBounds, houseBounds, shapeOf } from '../build/house.ts';
import { readSources } from '../build/sources.ts';

/** The laws of the house: who may import whom. docs/explanation/architecture.md says why. */

const root = fileURLToPath(new URL('..', import.meta.url));

/** For each room, the rooms and files it may import from besides itself. `input_schema.ts` and `app.ts` are rooms of one file. */
const allowedImports: Readonly<Record<string, readonly string[]>> = {
  numbers: [],
  network: [],
  onnx: ['numbers'],
  checkpoint: ['numbers', 'network'],
  models: ['numbers', 'onnx', 'checkpoint'],
  protocol: ['numbers'],
  // The inputs of generation follow from the table that checkpoints, graphs and feeds follow from.
  'input_schema.ts': ['protocol', 'checkpoint/config/generation-parameters.ts'],
  pipeline: ['numbers', 'network', 'onnx', 'checkpoint', 'models', 'protocol', 'input_schema.ts'],
  'shipped-files.ts': [],
  'app.ts': ['pipeline', 'protocol', 'input_schema.ts', 'shipped-files.ts'],
  // Some commands need checkpoints alone: a download needs nothing of the running model.
  handlers: ['app.ts', 'shipped-files.ts', 'pipeline', 'protocol', 'input_schema.ts', 'checkpoint', 'package.json'],
};

/** For each room within pipeline/, the others that it may import from. All may measure times and know requests. */
const allowedWithinPipeline: Readonly<Record<string, readonly string[]>> = {
  images: ['stages.ts'],
  texts: [],
  sessions: ['images'],
  workers: ['images', 'sessions'],
  tasks: ['infer-request.ts', 'stages.ts', 'images', 'texts', 'sessions', 'workers'],
};

/** The rooms of handlers/ that others may import, with the files that put platforms together. */
const allowedBetweenHandlers: Readonly<Record<string, readonly string[]>> = {
  service: [],
  http: ['handlers/service/'],
  grpc: ['handlers/service/'],
  // The routes of the HTTP server answer Lambda's HTTP events.
  'aws-lambda': ['handlers/service/', 'handlers/http/server.ts'],
  // `serve` starts both servers.
  'command-line': ['handlers/service/', 'handlers/http/server.ts', 'handlers/grpc/server.ts'],
};

/**
 * For each room within checkpoint/, the others that it may import from, from the ground up. hub/ fetches files and opens
 * none. quantize/ lies on top, because it opens one checkpoint and writes another.
 */
const allowedWithinCheckpoint: Readonly<Record<string, readonly string[]>> = {
  'errors.ts': [],
  files: ['errors.ts'],
  config: ['errors.ts', 'files'],
  weights: ['errors.ts', 'files'],
  'checkpoint.ts': ['errors.ts', 'files', 'config', 'weights'],
  hub: ['errors.ts', 'files', 'config', 'weights'],
  quantize: ['errors.ts', 'files', 'weights', 'checkpoint.ts'],
};

/** The only files that may import a package. */
const onlyImporters: Readonly<Record<string, readonly string[]>> = {
  'onnxruntime-node': ['pipeline/sessions/runtime.ts'],
  undici: [
    'network/address-guard.ts',
    'network/guarded-connections.ts',
    'network/http-get.ts',
    'network/proxy-connections.ts',
  ],
  'ipaddr.js': ['network/address-guard.ts'],
  sharp: ['pipeline/images/image-decode.ts'],
  pbf: ['onnx/model-proto.ts'],
  '@grpc/grpc-js': [
    'handlers/grpc/call-report.ts',
    'handlers/grpc/credentials.ts',
    'handlers/grpc/guard.ts',
    'handlers/grpc/methods.ts',
    'handlers/grpc/reflection-service.ts',
    'handlers/grpc/server.ts',
    'handlers/grpc/statuses.ts',
  ],
  '@bufbuild/protobuf': [
    'handlers/grpc/codec.ts',
    'handlers/grpc/infer.ts',
    'handlers/grpc/methods.ts',
    'handlers/grpc/reflection-service.ts',
    'handlers/grpc/stream-infer.ts',
  ],
  '@huggingface/hub': ['checkpoint/hub/listing.ts'],
  '@fastify/busboy': ['handlers/http/exchange/multipart.ts'],
  'lru-cache': ['handlers/http/doors/runpod/answer-cache.ts'],
  'prom-client': ['handlers/service/metrics.ts', 'handlers/service/model-metrics.ts'],
  '@opentelemetry/api': ['handlers/service/tracing.ts'],
  'cli-progress': ['handlers/command-line/download-progress.ts'],
};

function sourceFiles(place: string): readonly string[] {
  if (place.endsWith('.ts')) return [place];
  return readdirSync(join(root, place), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(place, file));
}

function importsOf(file: string): readonly string[] {
  const text = readFileSync(join(root, file), 'utf8');
  const imported = [/^(?:import|export)\b[^;]*?from '([^']+)'/gms, /\bimport\('([^']+)'\)/g];
  return imported.flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1] ?? ''));
}

function withoutComments(file: string): string {
  return readFileSync(join(root, file), 'utf8').replace(/\/\*.*?\*\/|\/\/.*$/gms, '');
}

function room(path: string): string {
  return path.split('/')[0] ?? path;
}

const imports = Object.keys(allowedImports).flatMap((place) =>
  sourceFiles(place).flatMap((file) =>
    importsOf(file).map((specifier) => ({
      file,
      target: specifier.startsWith('.') ? relative(root, join(root, dirname(file), specifier)) : specifier,
    })),
  ),
);
const ownImports = imports.filter(({ target }) => room(target) in allowedImports || target === 'package.json');

describe('the laws of the house', () => {
  test('the files were found', () => {
    expect(ownImports.length).toBeGreaterThan(100);
  });

  test.each(Object.entries(allowedImports))('%s imports only what it may', (place, allowed) => {
    const broken = ownImports.filter(
      ({ file, target }) =>
        room(file) === place && ![place, ...allowed].includes(room(target)) && !allowed.includes(target),
    );
    expect(broken).toEqual([]);
  });

  test.each([
    ...Object.entries(allowedWithinPipeline).map((law) => ['pipeline', ...law] as const),
    ...Object.entries(allowedWithinCheckpoint).map((law) => ['checkpoint', ...law] as const),
  ])('%s/%s imports only what it may', (outer, place, allowed) => {
    const within = (path: string) => path.split('/')[1] ?? '';
    expect(sourceFiles(`${outer}/${place}`).length).toBeGreaterThan(0);
    const placed = ownImports.filter(({ file }) => room(file) === outer && within(file) === place);
    const inOuter = placed.filter(({ target }) => room(target) === outer);
    expect(inOuter.filter(({ target }) => ![place, ...allowed].includes(within(target)))).toEqual([]);
  });

  test('every room of checkpoint/ has its law, and there are ten at most', () => {
    const rooms = readdirSync(join(root, 'checkpoint'));
    expect(rooms.sort()).toEqual(Object.keys(allowedWithinCheckpoint).sort());
    expect(rooms.length).toBeLessThanOrEqual(10);
  });

  test.each(Object.entries(allowedBetweenHandlers))('handlers/%s imports only what it may', (place, allowed) => {
    const folder = `handlers/${place}/`;
    const ofPlace = ownImports.filter(({ file }) => file.startsWith(folder));
    expect(ofPlace.length).toBeGreaterThan(0);
    const inHandlers = ofPlace.filter(({ target }) => room(target) === 'handlers' && !target.startsWith(folder));
    expect(inHandlers.filter(({ target }) => !allowed.some((start) => target.startsWith(start)))).toEqual([]);
  });

  test('no door imports a door, and what doors share imports none', () => {
    const doorOf = (path: string) => /^handlers\/http\/doors\/[^/]+\//.exec(path)?.[0];
    const shared = ['handlers/http/exchange/', 'handlers/service/'];
    const broken = ownImports.filter(({ file, target }) => {
      const door = doorOf(target);
      if (door === undefined) return false;
      return doorOf(file) === undefined ? shared.some((start) => file.startsWith(start)) : doorOf(file) !== door;
    });
    expect(broken).toEqual([]);
    expect(new Set(ownImports.map(({ file }) => doorOf(file))).size).toBeGreaterThan(7);
  });

  test('only the list of doors imports doors from outside', () => {
    const importers = ownImports
      .filter(
        ({ file, target }) => target.startsWith('handlers/http/doors/') && !file.startsWith('handlers/http/doors/'),
      )
      .map(({ file }) => file);
    expect([...new Set(importers)]).toEqual(['handlers/http/doors.ts']);
  });

  test('settings import no runtime', () => {
    const reached = new Set<string>();
    const follow = (file: string): void => {
      if (reached.has(file)) return;
      reached.add(file);
      for (const { target } of imports.filter((each) => each.file === file)) follow(target);
    };
    follow('pipeline/settings.ts');
    follow('handlers/service/server-settings.ts');
    expect([...reached].sort()).toEqual([
      'handlers/service/server-settings.ts',
      'pipeline/sessions/execution-provider-choices.ts',
      'pipeline/setting-definitions.ts',
      'pipeline/settings.ts',
      'protocol/errors.ts',
    ]);
  });

  test.each(Object.entries(onlyImporters))('only the files named import %s', (packageName, importers) => {
    const found = imports.filter(({ target }) => target === packageName).map(({ file }) => file);
    expect([...new Set(found)].sort()).toEqual(importers);
  });

  test('no two files import each other, directly or through others', () => {
    const targets = new Map<string, string[]>();
    for (const { file, target } of ownImports) targets.set(file, [...(targets.get(file) ?? []), target]);
    const cycles: string[] = [];
    const finished = new Set<string>(); // Files whose imports were followed to the end: there are many more paths.
    const visit = (file: string, path: readonly string[]): void => {
      if (finished.has(file)) return;
      if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' → '));
      else for (const target of targets.get(file) ?? []) visit(target, [...path, file]);
      finished.add(file);
    };
    for (const file of targets.keys()) visit(file, []);
    expect(cycles).toEqual([]);
  });

  test('generation knows no model', () => {
    const found = ownImports.filter(({ file }) => file.startsWith('models/generation/'));
    expect(found.length).toBeGreaterThan(0);
    expect(found.filter(({ target }) => room(target) === 'models' && !target.startsWith('models/generation/'))).toEqual(
      [],
    );
  });

  test('no cast switches the compiler off', () => {
    const casts = /\bas never\b|\bas unknown as\b|\bas WorkerPool\b/;
    const found = Object.keys(allowedImports)
      .filter((place) => place !== 'package.json')
      .flatMap(sourceFiles)
      .filter((file) => casts.test(withoutComments(file)));
    expect(found).toEqual([]);
  });

  test('no numbers of one checkpoint stand in the models', () => {
    const numbers = /(?<![\w.])(30_?52[234]|101|102|384|577)(?![\w.])/;
    const found = ['models', 'onnx']
      .flatMap(sourceFiles)
      .filter((file) => numbers.test(readFileSync(join(root, file), 'utf8')));
    expect(found).toEqual([]);
  });
});

/** Laws that need a parser, and the bounds of `npm run shape -- --check`. */
describe('the shape of the house', () => {
  const sources = readSources();

  test.each(Object.keys(houseBounds))('stays within the bounds of build/house.ts: "%s"', (folder) => {
    const shape = shapeOf(folder, sources);
    expect(shape.lengths.count).toBeGreaterThan(0);
    expect(exceededBounds(shape)).toEqual([]);
  });

  test('has no circle of rooms, on any floor', () => {
    const folders = sources.flatMap(({ path }) =>
      path.split('/').map((_, index, parts) => parts.slice(0, index).join('/')),
    );
    const circles = [...new Set(folders)].flatMap((folder) => shapeOf(folder, sources).upwards);
    expect(circles).toEqual([]);
  });

  test('has no two exported types of one name', () => {
    const pathsByName = new Map<string, string[]>();
    for (const { path, exportedTypes } of sources)
      for (const name of exportedTypes) pathsByName.set(name, [...(pathsByName.get(name) ?? []), path]);
    expect(pathsByName.size).toBeGreaterThan(100);
    expect([...pathsByName].filter(([, paths]) => paths.length > 1)).toEqual([]);
  });

  test('has no cast that the compiler does not check: to never, or by way of unknown', () => {
    const casts = sources.flatMap(({ path, uncheckedCasts }) => uncheckedCasts.map((cast) => `${path}:${cast}`));
    expect(casts).toEqual([]);
  });

  test('keeps models out of models/generation', () => {
    const generation = sources.filter(({ path }) => path.startsWith('models/generation/'));
    expect(generation.length).toBeGreaterThan(0);
    const modelImports = generation.flatMap(({ path, imports }) =>
      imports
        .filter((target) => /^models\/(?:heads|language-models|towers)\//.test(target))
        .map((target) => `${path} → ${target}`),
    );
    expect(modelImports).toEqual([]);
  });
});
