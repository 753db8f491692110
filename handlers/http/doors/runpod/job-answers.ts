import type Handler from '../../../../app.ts';
import { errorText } from '../../../../protocol/error-answer.ts';
import { isReady, type Stopping } from '../../../service/readiness.ts';
import type { JobCounts } from './job-shelf.ts';
import { type JobEnd, type QueuedJob, statusOf } from './queued-job.ts';

/**
 * The forms of RunPod's answers.
 * Source: docs.runpod.io, "Operation reference"; npm runpod-sdk 1.1.2 and PyPI runpod 1.12.0.
 */

/** The answer about a job that is running. */
export function stateOf(job: QueuedJob): object {
  return { id: job.id, status: statusOf(job) };
}

/** The answer about a job that has ended, as JSON. */
export function encodeEnd(id: string, end: JobEnd): Uint8Array {
  const times = { delayTime: Math.round(end.delayMs), executionTime: Math.round(end.executionMs) };
  return Buffer.from(JSON.stringify({ id, ...outcomeOf(end), ...times }));
}

function outcomeOf({ output, error }: JobEnd): object {
  if (error === undefined) return { status: 'COMPLETED', output };
  if (error.code === 'CANCELLED') return { status: 'CANCELLED' };
  const status = error.code === 'DEADLINE_EXCEEDED' ? 'TIMED_OUT' : 'FAILED';
  return { status, error: errorText(error) };
}

/** The health of an endpoint. Its jobs are those of the token; its one worker is this process. */
export function healthOf(model: Handler, counts: JobCounts, server: Stopping): object {
  const { waiting, computing, completed, failed } = counts;
  const ready = isReady(model, server);
  const running = ready && (model.model?.queuedItems() ?? 0) > 0;
  return {
    jobs: { completed, failed, inProgress: computing, inQueue: waiting, retried: 0 },
    workers: {
      idle: Number(ready && !running),
      initializing: Number(model.model === undefined),
      ready: Number(ready),
      running: Number(running),
      throttled: 0,
    },
  };
}
