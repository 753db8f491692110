import type Handler from '../../app.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { readGenerateRequest } from '../../protocol/generate.ts';
import { type InferenceRequest, readInferenceRequest } from '../../protocol/inference-request.ts';
import { type InferenceResponse, inferenceResponse } from '../../protocol/inference-response.ts';
import type { TaskSchema } from '../../protocol/schema.ts';
import { compile, nullableText } from '../../protocol/validation.ts';
import { inferInTime, type Question } from '../service/deadline.ts';
import { logInternal } from '../service/log-internal.ts';
import { findModel, namesOf } from '../service/served-models.ts';
import type { LambdaEnvironment } from './environment.ts';

/** The body of a request that has no path to name the model. */
interface RequestBody {
  readonly model_name?: string | null;
  readonly id?: string | null;
}

const checkBody = compile<RequestBody>(
  { type: 'object', properties: { model_name: nullableText, id: nullableText } },
  'INVALID_REQUEST',
);

/**
 * Answers the body of an inference request: one of the Open Inference Protocol, or a dictionary of the inputs alone
 * (`{"img_url": …, "text": …}`). `model_name` chooses between several models.
 * @throws HandlerError when the body is not valid, or no item has a result; the reason of `until`, when that aborts.
 */
export async function answerBody(
  { models, server, settings }: LambdaEnvironment,
  body: unknown,
  until: AbortSignal,
): Promise<InferenceResponse> {
  const request = checkBody(body);
  const model = requireModel(models, request.model_name ?? undefined);
  const { id, ...question } = readBody(request, model.schema);
  const answer = await inferInTime(model, question, {
    signal: until,
    timeLimitMs: settings.requestTimeoutMs,
    client: undefined,
  });
  for (const failure of answer.failures) logInternal(failure, server.log);
  return inferenceResponse(model.name ?? '', id, answer);
}

function readBody(request: RequestBody, schema: TaskSchema): Pick<InferenceRequest, 'id'> & Question {
  if ('inputs' in request && request.inputs !== null) return readInferenceRequest(request, schema);
  const { model_name: _name, ...named } = request;
  return readGenerateRequest(named);
}

function requireModel(models: readonly Handler[], name: string | undefined): Handler {
  if (name !== undefined) return findModel(models, name);
  const [only, ...others] = models;
  if (only !== undefined && others.length === 0) return only;
  throw new HandlerError(
    'INVALID_REQUEST',
    `Expected model_name to be one of ${namesOf(models).join(', ')}, got none.`,
  );
}
