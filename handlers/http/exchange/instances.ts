import type { FastifyReply } from 'fastify';
import { errorBody } from '../../../protocol/error-answer.ts';
import { HandlerError, toHandlerError } from '../../../protocol/errors.ts';
import { valuesByName } from '../../../protocol/named-tensor.ts';
import { schemaWithoutEffect } from '../../../protocol/names-without-effect.ts';
import { compile } from '../../../protocol/validation.ts';
import { logInternal } from '../../service/log-internal.ts';
import { clientSignal } from './client-signal.ts';
import { askModel, type InferenceCall } from './inference-call.ts';
import { sendJson } from './reply.ts';
import { parseJson } from './request-body.ts';

/**
 * The body that KServe's first protocol and Vertex AI share: `{"instances": […]}` → `{"predictions": […]}`. Instances
 * have inputs by name, predictions have outputs by name.
 */

interface PredictBody {
  readonly instances: readonly unknown[];
  readonly parameters?: Readonly<Record<string, unknown>> | null;
}

const checkBody = compile<PredictBody>(
  {
    type: 'object',
    required: ['instances'],
    properties: {
      instances: { type: 'array', minItems: 1 },
      parameters: { type: ['object', 'null'] },
      ...schemaWithoutEffect('a request with instances'),
    },
    knownNames: true,
  },
  'INVALID_REQUEST',
);
const checkInstance = compile<Readonly<Record<string, unknown>>>({ type: 'object' }, 'INVALID_INPUT');

/** Answers a call for predictions. An instance that fails has its error in its place; if all fail, so does the call. */
export async function predictInstances(call: InferenceCall): Promise<FastifyReply> {
  const { request, reply, model } = call;
  const { instances, parameters } = checkBody(parseJson(request.body));
  const { maxQueueSize } = model.settings;
  if (instances.length > maxQueueSize)
    throw new HandlerError('INVALID_INPUT', `Expected at most ${maxQueueSize} instances, got ${instances.length}.`);
  const { timeout, ...shared } = parameters ?? {};
  const signal = clientSignal(reply);
  const predictions = await Promise.all(
    instances.map((instance) => predict(call, instance, { timeout, shared }, signal).catch(toHandlerError)),
  );
  const failures = predictions.filter((prediction) => prediction instanceof HandlerError);
  const [firstFailure] = failures;
  if (firstFailure !== undefined && failures.length === predictions.length) throw firstFailure;
  for (const failure of failures) logInternal(failure, request.log);
  return sendJson(reply, {
    predictions: predictions.map((prediction) =>
      prediction instanceof HandlerError ? errorBody(prediction) : prediction,
    ),
  });
}

async function predict(
  call: InferenceCall,
  instance: unknown,
  { timeout, shared }: { readonly timeout: unknown; readonly shared: object },
  signal: AbortSignal,
): Promise<object> {
  const values = Object.entries(checkInstance(instance))
    .filter(([, value]) => value !== null)
    .map(([name, value]) => [name, Array.isArray(value) ? value.map(unwrapBytes) : unwrapBytes(value)] as const);
  const inputs = { ...shared, ...Object.fromEntries(values) };
  const { outputs } = await askModel(call, { inputs, parameters: { timeout: timeout ?? undefined } }, signal);
  return valuesByName(outputs);
}

/** Both protocols write bytes as `{"b64": …}`. */
function unwrapBytes(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'b64' in value ? value.b64 : value;
}
