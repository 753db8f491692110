import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import type { Environment } from '../../../checkpoint/hub/hub-settings.ts';
import { fixtureFiles, hubEnvironment, MODEL, sha256, stallAfter, startHub } from '../../support/hub-server.ts';

/** Downloads in processes of their own, which share a cache and know nothing of each other. */

const root = fileURLToPath(new URL('../../..', import.meta.url));
const files = fixtureFiles('narrow-vision');
const weights = Buffer.from(files['model.safetensors'] ?? []);
const weightsPath = `/${sha256(weights)}`;

function startDownload(environment: Environment): ChildProcess {
  const child = spawn(process.execPath, ['--import', 'tsx', 'handlers/command-line/download.ts', MODEL], {
    cwd: root,
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

/** The folder that the process prints. */
async function finish(child: ChildProcess): Promise<string> {
  const exited = once(child, 'exit');
  const output = child.stdout === null ? '' : await text(child.stdout);
  expect(await exited).toEqual([0, null]);
  return output.trim();
}

function blobNames(environment: Environment): readonly string[] {
  return readdirSync(join(environment['HF_HOME'] ?? '', 'hub', 'models--Owner--Some-Model', 'blobs'));
}

const halfWritten = (environment: Environment) => blobNames(environment).filter((name) => name.endsWith('.incomplete'));

test('two processes at once both end well, and leave a whole file and no half-written ones', async () => {
  const hub = await startHub(files);
  const environment = hubEnvironment(hub);
  // Neither gets its answer before both have asked.
  const answers: (() => void)[] = [];
  const whenBothAsked = (_response: unknown, answer: () => void) => {
    answers.push(answer);
    if (answers.length === 2) for (const each of answers) each();
  };
  hub.fail(weightsPath, whenBothAsked, whenBothAsked);
  const folders = await Promise.all([startDownload(environment), startDownload(environment)].map(finish));
  expect(answers).toHaveLength(2);
  expect(folders[0]).toBe(folders[1]);
  expect(readFileSync(join(folders[0] ?? '', 'model.safetensors')).equals(weights)).toBe(true);
  expect(halfWritten(environment)).toEqual([]);
});

test('the next process resumes in the half-written file of a killed one', async () => {
  const hub = await startHub(files);
  const environment = hubEnvironment(hub);
  let countAtResume = 0;
  hub.fail(weightsPath, stallAfter(200_000), (_response, answer) => {
    countAtResume = halfWritten(environment).length;
    answer();
  });
  const killed = startDownload(environment);
  const blobs = join(environment['HF_HOME'] ?? '', 'hub', 'models--Owner--Some-Model', 'blobs');
  const leftBytes = () => {
    const [name] = halfWritten(environment);
    return name === undefined ? 0 : statSync(join(blobs, name)).size;
  };
  await expect.poll(() => hub.requests.some(({ path }) => path === weightsPath), { timeout: 60_000 }).toBe(true);
  await expect.poll(leftBytes, { timeout: 60_000 }).toBe(200_000);
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  const folder = await finish(startDownload(environment));
  const ranges = hub.requests.filter(({ path }) => path === weightsPath).map(({ headers }) => headers.range);
  expect(ranges).toEqual([undefined, 'bytes=200000-']);
  expect(countAtResume).toBe(1);
  expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
  expect(halfWritten(environment)).toEqual([]);
});
