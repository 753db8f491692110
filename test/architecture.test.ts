import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { exceededBounds, houseBounds, shapeOf } from '../build/house.ts';
import { readSources } from '../build/sources.ts';

/** The laws of the house, above all who may import whom. docs/explanation/architecture.md says why. */

/** For each room, the rooms and files that it may import from besides itself. Some rooms are one file. */
const allowedImports: Readonly<Record<string, readonly string[]>> = {
  numbers: [],
  network: [],
  onnx: ['numbers'],
  checkpoint: ['numbers', 'network'],
  models: ['numbers', 'onnx', 'checkpoint'],
  protocol: ['numbers'],
  // The inputs of generation follow from the table that checkpoints, graphs and feeds follow from.
  'input_schema.ts': ['protocol', 'checkpoint/config/generation-parameters.ts'],
  pipeline: [
    'numbers',
    'network',
    'onnx',
    'checkpoint',
    'models',
    'protocol',
    'input_schema.ts',
    'shipped-files.ts',
    'package.json',
  ],
  'shipped-files.ts': [],
  'app.ts': ['pipeline', 'protocol', 'input_schema.ts', 'shipped-files.ts', 'checkpoint/errors.ts'],
  // Some commands need checkpoints alone: a download needs nothing of the running model.
  handlers: ['app.ts', 'shipped-files.ts', 'pipeline', 'protocol', 'input_schema.ts', 'checkpoint', 'package.json'],
};

/** For each room within pipeline/, the others that it may import from. All may measure times and know requests. */
const allowedWithinPipeline: Readonly<Record<string, readonly string[]>> = {
  images: ['stages.ts', 'fair-queue.ts', 'container-limits.ts'],
  cuda: [],
  texts: [],
  calibration: ['images', 'sessions', 'container-limits.ts'],
  sessions: ['images', 'cuda', 'container-limits.ts'],
  workers: ['images', 'sessions', 'fair-queue.ts'],
  tasks: ['accepted-requests.ts', 'infer-request.ts', 'stages.ts', 'images', 'texts', 'sessions', 'workers'],
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
 * none. quantize/ and merge/ lie on top, because they open checkpoints and write another.
 */
const allowedWithinCheckpoint: Readonly<Record<string, readonly string[]>> = {
  'errors.ts': [],
  files: ['errors.ts'],
  config: ['errors.ts', 'files'],
  weights: ['errors.ts', 'files'],
  'checkpoint.ts': ['errors.ts', 'files', 'config', 'weights'],
  hub: ['errors.ts', 'files', 'config', 'weights'],
  'new-checkpoint': ['errors.ts', 'files', 'weights'],
  quantize: ['errors.ts', 'files', 'weights', 'checkpoint.ts', 'new-checkpoint'],
  merge: ['errors.ts', 'config', 'weights', 'checkpoint.ts', 'new-checkpoint'],
};

/** The only files that may import a package. */
const onlyImporters: Readonly<Record<string, readonly string[]>> = {
  'onnxruntime-node': ['pipeline/sessions/runtime.ts'],
  undici: ['network/proxy-connections.ts', 'network/redirect-cookies.ts'],
  'ipaddr.js': ['network/address-guard.ts'],
  sharp: ['pipeline/images/formats/sharp-images.ts'],
  pbf: ['onnx/model-proto.ts', 'pipeline/texts/definitions/sentence-piece.ts'],
  '@grpc/grpc-js': [
    'handlers/grpc/acceptor.ts',
    'handlers/grpc/call-report.ts',
    'handlers/grpc/credentials.ts',
    'handlers/grpc/guard.ts',
    'handlers/grpc/methods.ts',
    'handlers/grpc/model-methods.ts',
    'handlers/grpc/received-bytes.ts',
    'handlers/grpc/reflection-service.ts',
    'handlers/grpc/server.ts',
    'handlers/grpc/statuses.ts',
  ],
  '@bufbuild/protobuf': [
    'handlers/grpc/answer-stream.ts',
    'handlers/grpc/codec.ts',
    'handlers/grpc/infer.ts',
    'handlers/grpc/methods.ts',
    'handlers/grpc/model-methods.ts',
    'handlers/grpc/prompts/jina-service.ts',
    'handlers/grpc/prompts/visual-question-answering.ts',
    'handlers/grpc/reflection-service.ts',
  ],
  '@huggingface/hub': ['checkpoint/hub/listing.ts'],
  '@fastify/busboy': ['handlers/http/exchange/multipart.ts'],
  'lru-cache': [
    'handlers/http/doors/runpod/answer-cache.ts',
    'network/dns-names.ts',
    'pipeline/sessions/image-cache.ts',
  ],
  'prom-client': ['handlers/service/metrics.ts', 'handlers/service/model-metrics.ts'],
  '@opentelemetry/api': ['handlers/service/tracing.ts'],
  yaml: ['handlers/command-line/build/build-file.ts'],
  '@redis/client': ['handlers/http/doors/runpod/redis-client.ts'],
  'cli-progress': ['handlers/command-line/download-progress.ts'],
};

const sources = readSources();

function room(path: string): string {
  return path.split('/')[0] ?? path;
}

const imports = sources.flatMap(({ path, imports: targets }) => targets.map((target) => ({ file: path, target })));
const ownImports = imports.filter(({ target }) => room(target) in allowedImports || target === 'package.json');

describe('imports', () => {
  test('are read from all rooms', () => {
    expect(ownImports.length).toBeGreaterThan(100);
    expect(shapeOf('', sources).rooms).toEqual(Object.keys(allowedImports).sort());
  });

  test.each(Object.entries(allowedImports))('of %s are those that it may have', (importer, allowed) => {
    const broken = ownImports.filter(
      ({ file, target }) =>
        room(file) === importer && ![importer, ...allowed].includes(room(target)) && !allowed.includes(target),
    );
    expect(broken).toEqual([]);
  });

  test.each([
    ...Object.entries(allowedWithinPipeline).map((law) => ['pipeline', ...law] as const),
    ...Object.entries(allowedWithinCheckpoint).map((law) => ['checkpoint', ...law] as const),
  ])('of %s/%s are those that it may have', (outer, inner, allowed) => {
    const within = (path: string) => path.split('/')[1] ?? '';
    expect(shapeOf(outer, sources).rooms).toContain(inner);
    const ofInner = ownImports.filter(({ file }) => room(file) === outer && within(file) === inner);
    const inOuter = ofInner.filter(({ target }) => room(target) === outer);
    expect(inOuter.filter(({ target }) => ![inner, ...allowed].includes(within(target)))).toEqual([]);
  });

  test('of every room of checkpoint/ have a law', () => {
    expect(shapeOf('checkpoint', sources).rooms).toEqual(Object.keys(allowedWithinCheckpoint).sort());
  });

  test.each(Object.entries(allowedBetweenHandlers))(
    'of handlers/%s are those that it may have',
    (platform, allowed) => {
      const folder = `handlers/${platform}/`;
      const ofPlatform = ownImports.filter(({ file }) => file.startsWith(folder));
      expect(ofPlatform.length).toBeGreaterThan(0);
      const inHandlers = ofPlatform.filter(({ target }) => room(target) === 'handlers' && !target.startsWith(folder));
      expect(inHandlers.filter(({ target }) => !allowed.some((start) => target.startsWith(start)))).toEqual([]);
    },
  );

  test('of a door lead to no other door, and those of parts that doors share to none', () => {
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

  test('from outside reach doors by their list alone', () => {
    const importers = ownImports
      .filter(
        ({ file, target }) => target.startsWith('handlers/http/doors/') && !file.startsWith('handlers/http/doors/'),
      )
      .map(({ file }) => file);
    expect([...new Set(importers)]).toEqual(['handlers/http/doors.ts']);
  });

  test('of settings reach no runtime, directly or by way of others', () => {
    const reached = new Set<string>();
    const follow = (file: string): void => {
      if (reached.has(file)) return;
      reached.add(file);
      for (const { target } of imports.filter((each) => each.file === file)) follow(target);
    };
    follow('pipeline/settings.ts');
    follow('handlers/service/server-settings.ts');
    expect([...reached].sort()).toEqual([
      'checkpoint/config/generation-parameters.ts',
      'handlers/service/server-settings.ts',
      'handlers/service/web-origins.ts',
      'node:net',
      'node:util',
      'pipeline/chosen-settings.ts',
      'pipeline/optimization-goals.ts',
      'pipeline/sessions/execution-provider-choices.ts',
      'pipeline/sessions/weights-choices.ts',
      'pipeline/setting-definitions.ts',
      'pipeline/settings.ts',
      'pipeline/worker-plan.ts',
      'protocol/errors.ts',
      'protocol/known-names.ts',
    ]);
  });

  test.each(Object.entries(onlyImporters))(
    'of %s, or of its parts, are in the files named',
    (packageName, importers) => {
      const isOfPackage = (target: string) => target === packageName || target.startsWith(`${packageName}/`);
      const files = imports.filter(({ target }) => isOfPackage(target)).map(({ file }) => file);
      expect([...new Set(files)].sort()).toEqual(importers);
    },
  );

  test('of models/generation lead to no other part of models/', () => {
    const ofGeneration = ownImports.filter(({ file }) => file.startsWith('models/generation/'));
    expect(ofGeneration.length).toBeGreaterThan(0);
    const inModels = ofGeneration.filter(({ target }) => room(target) === 'models');
    expect(inModels.filter(({ target }) => !target.startsWith('models/generation/'))).toEqual([]);
  });

  /** A circle of files is also a circle of rooms, in the deepest folder that has all of them. */
  test('make no circle of rooms, on any floor', () => {
    const folders = sources.flatMap(({ path }) =>
      path.split('/').map((_, index, parts) => parts.slice(0, index).join('/')),
    );
    const circles = [...new Set(folders)].flatMap((folder) => shapeOf(folder, sources).upwards);
    expect(circles).toEqual([]);
  });
});

describe('the code', () => {
  /** `npm run shape -- --check` holds the same bounds. */
  test.each(Object.keys(houseBounds))('stays within the bounds of build/house.ts: "%s"', (folder) => {
    const shape = shapeOf(folder, sources);
    expect(shape.lengths.count).toBeGreaterThan(0);
    expect(exceededBounds(shape)).toEqual([]);
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

  test('has comments of at most 125 columns, which do not begin with "What" or "The same"', () => {
    const badComment = /^\s*(?:\/\*\*|\*|\/\/) ?(?:What|The same) /;
    const isTooLong = (line: string) => line.length > 125 && /^\s*(?:\/\*|\*|\/\/)/.test(line);
    const lines = sources.flatMap(({ path }) =>
      readFileSync(path, 'utf8')
        .split('\n')
        .map((line, index) => ({ place: `${path}:${index + 1}`, isBad: badComment.test(line) || isTooLong(line) })),
    );
    expect(lines.filter(({ isBad }) => isBad).map(({ place }) => place)).toEqual([]);
  });

  test('of models has no numbers of one checkpoint', () => {
    const numbers = /(?<![\w.])(30_?52[234]|101|102|384|577)(?![\w.])/;
    const paths = sources.map(({ path }) => path).filter((path) => ['models', 'onnx'].includes(room(path)));
    expect(paths.length).toBeGreaterThan(20);
    const withNumbers = paths.filter((path) =>
      numbers.test(readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')),
    );
    expect(withNumbers).toEqual([]);
  });
});
