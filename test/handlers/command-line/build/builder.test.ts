import { afterEach, expect, test } from 'vitest';
import { builderCalls, type ImageRequest } from '../../../../handlers/command-line/build/builder.ts';

/** How builders are called. The test of images calls buildah for real; Docker cannot run on every machine of tests. */

const request: ImageRequest = {
  tag: 'example.com/captions:1',
  dockerfile: '/t/Dockerfile',
  context: '/t/context',
  contexts: { checkpoints: '/t/checkpoints' },
  buildArguments: { BASE: 'debian' },
  platform: 'linux/arm64',
  push: false,
  more: ['--no-cache'],
};
const common = [
  ...['--file', '/t/Dockerfile', '--tag', 'example.com/captions:1', '--platform', 'linux/arm64'],
  ...['--build-arg', 'BASE=debian', '--build-context', 'checkpoints=/t/checkpoints', '--no-cache', '/t/context'],
];

afterEach(() => void delete process.env['SOURCE_DATE_EPOCH']);

test.each(['podman', 'buildah'] as const)(
  '%s builds a layer for each instruction, with one time for all files',
  (program) => {
    const args = ['build', '--layers', '--timestamp', '0', ...common];
    expect(builderCalls(program, request)).toEqual([{ program, args }]);
  },
);

test('docker builds with buildx, and keeps the image in its own store', () => {
  const args = ['buildx', 'build', '--provenance=false', '--build-arg', 'SOURCE_DATE_EPOCH=0', '--load', ...common];
  expect(builderCalls('docker', request)).toEqual([{ program: 'docker', args }]);
});

test('docker pushes as it builds, and the others afterwards', () => {
  const [docker, ...more] = builderCalls('docker', { ...request, push: true });
  expect(docker?.args).toContain('--push');
  expect(docker?.args).not.toContain('--load');
  expect(more).toEqual([]);
  expect(builderCalls('podman', { ...request, push: true })[1]).toEqual({
    program: 'podman',
    args: ['push', 'example.com/captions:1'],
  });
});

test.each([
  ['127.0.0.1:5000/captions', true],
  ['localhost:5000/captions', true],
  ['localhost.example.com/captions', false],
  ['captions', false],
])('a push to %s may go without TLS: %s', (tag, isInsecure) => {
  const [, push] = builderCalls('buildah', { ...request, tag, push: true });
  expect(push?.args.includes('--tls-verify=false')).toBe(isInsecure);
});

test('SOURCE_DATE_EPOCH is the time of the image', () => {
  process.env['SOURCE_DATE_EPOCH'] = '1764300000';
  expect(builderCalls('buildah', request)[0]?.args).toContain('1764300000');
  expect(builderCalls('docker', request)[0]?.args).toContain('SOURCE_DATE_EPOCH=1764300000');
});
