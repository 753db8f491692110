import { AsyncLocalStorage } from 'node:async_hooks';
import type { Worker } from 'node:worker_threads';
import { onTestFinished } from 'vitest';

/** Real worker threads of the code under test, and how they come to their end. */

/** Names the test that starts a thread. Files share a process, in which a pool of another test may replace a worker. */
const startedBy = new AsyncLocalStorage<symbol>();

/** All threads that the test starts from here on, in their order. Those that have ended have the id -1. */
export function watchThreads(onStart: (thread: Worker) => void = () => undefined): readonly Worker[] {
  const threads: Worker[] = [];
  const test = Symbol('test');
  startedBy.enterWith(test);
  const add = (thread: Worker) => {
    if (startedBy.getStore() !== test) return;
    threads.push(thread);
    onStart(thread);
  };
  process.on('worker', add);
  onTestFinished(() => void process.off('worker', add));
  return threads;
}

/**
 * Ends a thread as a mistake in its code would: a message that is no request makes it throw where nobody catches. What
 * is posted after it has no answer; no native code is interrupted.
 */
export function breakThread(thread: Worker | undefined): void {
  if (thread === undefined) throw new Error('Expected a thread, got none.');
  thread.postMessage(undefined);
}

/** Threads that end at every batch for which `isDeadly` holds when it is posted. */
export function watchDeadlyThreads(isDeadly: (request: { readonly batch: unknown }) => boolean): readonly Worker[] {
  return watchThreads((thread) => {
    const post = thread.postMessage.bind(thread);
    thread.postMessage = (request: unknown) => {
      if (hasBatch(request) && isDeadly(request)) post(undefined);
      post(request);
    };
  });
}

function hasBatch(request: unknown): request is { readonly batch: unknown } {
  return typeof request === 'object' && request !== null && 'batch' in request;
}

export function livingThreads(threads: readonly Worker[]): readonly Worker[] {
  return threads.filter(({ threadId }) => threadId !== -1);
}
