import { cpSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import type { Settings } from '../../../../pipeline/settings.ts';
import { checkpointFolder } from '../../../support/goldens.ts';
import { bytes, dataUri, expectError, outputOf, postInference, readAnswer, send } from '../../../support/server.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';
import { serverForTest } from '../../../support/with-server.ts';
import { breakThread, watchDeadlyThreads, watchThreads } from '../../../support/worker-threads.ts';

/** The server's answers after worker threads ended. The threads are real. */

const RECOVERY = { timeout: 30_000 };
const body = { inputs: [bytes('img_url', [dataUri('small')])] };

async function start(changes: Partial<Settings> = {}) {
  const server = await serverForTest(changes);
  const statuses = async () => {
    const paths = ['/v2/health/live', '/v2/health/ready', '/v2/models/captioning/ready'];
    const answers = await Promise.all(paths.map((path) => send(server.url, { path })));
    return answers.map(({ status }) => status);
  };
  return { ...server, statuses };
}

const READY = [200, 200, 200];
const UNREADY = [200, 503, 503];

test('one worker of two is enough to be ready', async () => {
  const threads = watchThreads();
  const { statuses, url } = await start({ workerCount: 2 });
  breakThread(threads[0]);
  expect(await statuses()).toEqual(READY);
  readAnswer(await postInference(url, body));
  expect(await statuses()).toEqual(READY);
});

describe('without a worker', () => {
  /** A server whose only worker has ended and cannot start again, as its checkpoint is gone. */
  async function startBroken() {
    const threads = watchThreads();
    const checkpoint = join(temporaryFolder(), 'checkpoint');
    cpSync(checkpointFolder('narrow-vision'), checkpoint, { recursive: true });
    const server = await start({ checkpoint });
    const wanted = outputOf(readAnswer(await postInference(server.url, body)), 'generated_output');
    renameSync(checkpoint, `${checkpoint}-away`);
    breakThread(threads[0]);
    await expect.poll(server.statuses).toEqual(UNREADY);
    return { ...server, wanted, bringBack: () => renameSync(`${checkpoint}-away`, checkpoint) };
  }

  test('the service is live and not ready, and a request waits for the next worker', async () => {
    const { url, statuses, wanted, bringBack } = await startBroken();
    const answer = postInference(url, body);
    expect(await statuses()).toEqual(UNREADY);
    bringBack();
    expect(outputOf(readAnswer(await answer), 'generated_output')).toEqual(wanted);
    expect(await statuses()).toEqual(READY);
  });

  test('requests are refused after ten seconds, and from then on at once', RECOVERY, async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'], shouldAdvanceTime: true });
    const { url, model, statuses } = await startBroken();
    let isAnswered = false;
    const first = postInference(url, body).finally(() => {
      isAnswered = true;
    });
    await expect.poll(() => model.model?.queuedItems()).toBe(1);
    vi.advanceTimersByTime(5_000);
    expect(await statuses()).toEqual(UNREADY);
    expect(isAnswered).toBe(false);
    vi.advanceTimersByTime(5_000);
    const refused = [await first, await postInference(url, body)];
    for (const answer of refused) {
      expectError(answer, 503, 'NOT_READY');
      expect(answer.headers['retry-after']).toMatch(/^\d+$/);
    }
    expect(await statuses()).toEqual(UNREADY);
  });
});

test('a request that ends two workers fails with an error that reveals nothing internal', RECOVERY, async () => {
  let deadlyCount = 2;
  const threads = watchDeadlyThreads(() => {
    deadlyCount -= 1;
    return deadlyCount >= 0;
  });
  const { url, statuses } = await start();
  const { error } = expectError(await postInference(url, body), 500, 'INTERNAL');
  expect(error).not.toMatch(/worker|thread|TypeError/);
  await expect.poll(statuses, RECOVERY).toEqual(READY);
  readAnswer(await postInference(url, body));
  expect(threads).toHaveLength(3);
});
