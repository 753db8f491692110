import { setTimeout as sleep } from 'node:timers/promises';
import { settingsFromEnvironment } from '../../app.ts';
import { createEnvironment, type Environment } from './environment.ts';
import type { Handler, HandlerOptions } from './handler-options.ts';
import { createHandlers } from './handlers.ts';
import { invocationError } from './invocation-error.ts';

/**
 * The function of AWS Lambda: `dist/aws-lambda.handler`, or `.streamHandler` where answers are streamed. Importing this
 * begins to load the models, in the init phase, before there is an event.
 */

/** The init phase ends after 10 s, and all of it is done again. What is not loaded by now, the first invocation awaits. */
const INIT_LIMIT_MS = 8_000;
/** Environments that are made before they are needed have at least 130 s. */
const EARLY_INIT_LIMIT_MS = 120_000;

/**
 * How much longer the init phase may last.
 * Source: AWS documentation, "Understanding the Lambda execution environment lifecycle".
 */
function initTimeMs(initializationType = 'on-demand'): number {
  const limitMs = initializationType === 'on-demand' ? INIT_LIMIT_MS : EARLY_INIT_LIMIT_MS;
  return Math.max(0, limitMs - performance.now()); // Since the process began.
}

/** @throws InvocationError, which ends the environment: its settings will not get better. */
function startEnvironment(): Environment {
  try {
    return createEnvironment(settingsFromEnvironment());
  } catch (thrown) {
    throw invocationError(thrown);
  }
}

const environment = startEnvironment();

/** A handler with other options, for a function file of one's own. All handlers share the models. */
export function createHandler(options: HandlerOptions): Handler {
  return createHandlers(environment, options).handler;
}

export const { handler, streamHandler } = createHandlers(environment);

// Lambda sends it where an extension is registered, and ends the process soon after.
process.once('SIGTERM', () => void environment.close().finally(() => process.exit(0)));

const loading = environment.load().catch(() => undefined); // It is in the log, and the next invocation tries again.
const waited = new AbortController();
await Promise.race([
  loading,
  sleep(initTimeMs(process.env['AWS_LAMBDA_INITIALIZATION_TYPE']), undefined, { signal: waited.signal }),
]);
waited.abort();
