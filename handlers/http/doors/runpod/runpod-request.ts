import type { FastifyRequest } from 'fastify';
import { HandlerError } from '../../../../protocol/errors.ts';
import { schemaWithoutEffect } from '../../../../protocol/names-without-effect.ts';
import { compile } from '../../../../protocol/validation.ts';
import { refuseWebhook } from '../../exchange/job.ts';
import { parseJson } from '../../exchange/request-body.ts';
import type { JobLimits } from './queued-job.ts';

/** Requests of RunPod's clients. Source: docs.runpod.io, "Operation reference" and "Send API requests". */

const DEFAULT_EXECUTION_TIMEOUT_MS = 600_000;
const DEFAULT_TTL_MS = 86_400_000;
const MAX_POLICY_MS = 604_800_000;
const DEFAULT_WAIT_MS = 90_000;
const MAX_WAIT_MS = 300_000;

interface RunBody {
  readonly input: Readonly<Record<string, unknown>>;
  readonly webhook?: unknown;
  readonly webhookV2?: unknown;
  readonly policy?: { readonly executionTimeout?: number | null; readonly ttl?: number | null } | null;
}

const policyMs = { type: ['integer', 'null'], minimum: 1, maximum: MAX_POLICY_MS };

const checkBody = compile<RunBody>(
  {
    type: 'object',
    required: ['input'],
    properties: {
      input: { type: 'object' },
      webhook: {},
      webhookV2: {},
      policy: {
        type: ['object', 'null'],
        properties: {
          executionTimeout: policyMs,
          ttl: policyMs,
          ...schemaWithoutEffect('the policy of a job of RunPod'),
        },
        knownNames: true,
      },
      ...schemaWithoutEffect('a job of RunPod'),
    },
    knownNames: true,
  },
  'INVALID_REQUEST',
);

/**
 * The inputs of a job by name, and the time that it may take: that of its policy, else RunPod's default.
 * @throws HandlerError `INVALID_REQUEST`; also for a webhook, whose client would wait for ever.
 */
export function readJob({ body }: FastifyRequest): {
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly limits: JobLimits;
} {
  const { input, webhook, webhookV2, policy } = checkBody(parseJson(body));
  refuseWebhook(webhook);
  refuseWebhook(webhookV2);
  return {
    inputs: input,
    limits: {
      ttlMs: policy?.ttl ?? DEFAULT_TTL_MS,
      executionTimeoutMs: policy?.executionTimeout ?? DEFAULT_EXECUTION_TIMEOUT_MS,
    },
  };
}

/**
 * The milliseconds that a client waits for the end of a job, from `wait` of the query; at most as long as RunPod allows.
 * @throws HandlerError `INVALID_REQUEST`.
 */
export function readWaitMs({ query }: FastifyRequest): number {
  const { wait } = query as { readonly wait?: string | readonly string[] }; // Fastify's own parser.
  if (wait === undefined) return DEFAULT_WAIT_MS;
  if (typeof wait === 'string' && /^\d{1,15}$/.test(wait)) return Math.min(Number(wait), MAX_WAIT_MS);
  throw new HandlerError('INVALID_REQUEST', 'Expected wait to be a whole number of milliseconds, got another value.');
}
