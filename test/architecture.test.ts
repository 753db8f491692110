import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/** The laws of the house: who may import whom. docs/architecture.md says why. */

const root = fileURLToPath(new URL('..', import.meta.url));

/** For each room, the rooms and files it may import from besides itself. `input_schema.ts` and `app.ts` are rooms of one file. */
const allowedImports: Readonly<Record<string, readonly string[]>> = {
  onnx: [],
  checkpoint: [],
  models: ['onnx', 'checkpoint'],
  protocol: [],
  // The inputs of generation follow from the table that checkpoints, graphs and feeds follow from.
  'input_schema.ts': ['protocol', 'checkpoint/config/generation-parameters.ts'],
  pipeline: ['onnx', 'checkpoint', 'models', 'protocol', 'input_schema.ts'],
  'app.ts': ['pipeline', 'protocol', 'input_schema.ts'],
  // A command may be about checkpoints alone: downloading one needs nothing of the running model.
  handlers: ['app.ts', 'pipeline', 'protocol', 'input_schema.ts', 'checkpoint', 'package.json'],
};

/** The same for the rooms within pipeline/: which of them each may import from. Stages and requests are everybody's. */
const allowedWithinPipeline: Readonly<Record<string, readonly string[]>> = {
  images: ['stages.ts'],
  texts: [],
  sessions: ['images'],
  workers: ['images', 'sessions'],
  tasks: ['infer-request.ts', 'stages.ts', 'images', 'texts', 'sessions', 'workers'],
};

/** The only files that may import a package. */
const onlyImporters: Readonly<Record<string, readonly string[]>> = {
  'onnxruntime-node': ['pipeline/sessions/runtime.ts'],
  // The network has two doors: one for images, which anyone may name, and one for checkpoints, which the owner names.
  undici: ['checkpoint/hub/connection.ts', 'pipeline/images/address-guard.ts', 'pipeline/images/image-fetch.ts'],
  'ipaddr.js': ['pipeline/images/address-guard.ts'],
  sharp: ['pipeline/images/image-decode.ts'],
  pbf: ['onnx/model-proto.ts'],
  '@grpc/grpc-js': [
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
  'prom-client': ['handlers/service/metrics.ts'],
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

  test.each(Object.entries(allowedWithinPipeline))('pipeline/%s imports only what it may', (place, allowed) => {
    const within = (path: string) => path.split('/')[1] ?? '';
    const own = ownImports.filter(({ file }) => file.startsWith(`pipeline/${place}/`));
    expect(own.length).toBeGreaterThan(0);
    const inPipeline = own.filter(({ target }) => room(target) === 'pipeline');
    expect(inPipeline.filter(({ target }) => ![place, ...allowed].includes(within(target)))).toEqual([]);
  });

  test.each(Object.entries(onlyImporters))('only the files named import %s', (packageName, importers) => {
    const found = imports.filter(({ target }) => target === packageName).map(({ file }) => file);
    expect([...new Set(found)].sort()).toEqual(importers);
  });

  test('no two files import each other, directly or through others', () => {
    const targets = new Map<string, string[]>();
    for (const { file, target } of ownImports) targets.set(file, [...(targets.get(file) ?? []), target]);
    const cycles: string[] = [];
    const finished = new Set<string>(); // What has been followed to its end: paths are many more than files.
    const visit = (file: string, path: readonly string[]): void => {
      if (finished.has(file)) return;
      if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' → '));
      else for (const target of targets.get(file) ?? []) visit(target, [...path, file]);
      finished.add(file);
    };
    for (const file of targets.keys()) visit(file, []);
    expect(cycles).toEqual([]);
  });

  test('no cast switches the compiler off', () => {
    const casts = /\bas never\b|\bas unknown as\b|\bas WorkerPool\b/;
    const found = Object.keys(allowedImports)
      .filter((place) => place !== 'package.json')
      .flatMap(sourceFiles)
      .filter((file) => file !== 'pipeline/settings.ts' && casts.test(withoutComments(file)));
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
