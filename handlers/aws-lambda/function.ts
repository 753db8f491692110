import { setTimeout as sleep } from 'node:timers/promises';
import { settingsFromEnvironment } from '../../app.ts';
import { readServerSettings } from '../service/server-settings.ts';
import { createEnvironment, type LambdaEnvironment } from './environment.ts';
import type { HandlerOptions, LambdaHandler } from './handler-options.ts';
import { createHandlers } from './handlers.ts';
import { invocationError } from './invocation-error.ts';

/**
 * The function of AWS Lambda. Its import begins to load the models, so that they load in the init phase, before the first
 * event.
 */

/** The platform repeats an init phase that takes 10 s. The first invocation awaits models that are not loaded by now. */
const INIT_LIMIT_MS = 8_000;
/** Environments that are made before they are needed have at least 130 s for it. */
const EARLY_INIT_LIMIT_MS = 120_000;

/**
 * The milliseconds that the init phase may still take.
 * Source: AWS documentation, "Understanding the Lambda execution environment lifecycle".
 */
function initTimeMs(initializationType = 'on-demand'): number {
  const limitMs = initializationType === 'on-demand' ? INIT_LIMIT_MS : EARLY_INIT_LIMIT_MS;
  return Math.max(0, limitMs - performance.now()); // Since the process began.
}

/** @throws InvocationError for invalid settings, which ends the environment: another try would fail alike. */
function startEnvironment(): LambdaEnvironment {
  try {
    return createEnvironment(settingsFromEnvironment(), readServerSettings(process.env));
  } catch (thrown) {
    throw invocationError(thrown);
  }
}

const environment = startEnvironment();

/** A handler with other options, for a function file of your own. All handlers share the models. */
export function createHandler(options: HandlerOptions): LambdaHandler {
  return createHandlers(environment, options).handler;
}

export const { handler, streamHandler } = createHandlers(environment);

// Lambda sends SIGTERM where an extension is registered, and ends the process soon after.
process.once('SIGTERM', () => void environment.close().finally(() => process.exit(0)));

const loading = environment.load().catch(() => undefined); // The log has the error, and the next invocation tries again.
const waited = new AbortController();
await Promise.race([
  loading,
  sleep(initTimeMs(process.env['AWS_LAMBDA_INITIALIZATION_TYPE']), undefined, { signal: waited.signal }),
]);
waited.abort();
