import type { MessageInitShape } from '@bufbuild/protobuf';
import type Handler from '../../app.ts';
import { encodeTensor } from '../../protocol/binary-tensor.ts';
import { MODEL_VERSION } from '../../protocol/metadata.ts';
import { inferInTime } from '../service/deadline.ts';
import { logInternal } from '../service/log-internal.ts';
import { findModel } from '../service/served-models.ts';
import type { CallRecord } from './call-report.ts';
import type { ModelInferRequest, ModelInferResponseSchema } from './generated/open_inference_pb.js';
import { readInferRequest } from './infer-request.ts';

export interface InferCall extends CallRecord {
  /** Aborts when nobody waits for the answer any more. Whatever is still queued is dropped then. */
  readonly signal: AbortSignal;
  /** The most milliseconds that the service allows; `undefined` for any time. */
  readonly timeLimitMs: number | undefined;
  /** The name of the token that asks; `undefined` where there are no tokens. */
  readonly client: string | undefined;
}

/**
 * Answers one inference request. Values are always raw: every client can read them so, and some clients only so.
 * @throws HandlerError as `readInferRequest`, `findModel` and the model do; `DEADLINE_EXCEEDED` after the time that the
 *   request or the service allows; the signal's reason when that aborts.
 */
export async function infer(
  models: readonly Handler[],
  request: ModelInferRequest,
  { signal, timeLimitMs, client, log, span }: InferCall,
): Promise<MessageInitShape<typeof ModelInferResponseSchema>> {
  const model = findVersion(models, request.modelName, request.modelVersion);
  const { id = '', ...question } = readInferRequest(request, model.schema);
  const options = { signal, timeLimitMs, client, events: span?.eventsOf(model) };
  const { outputs, precision, failures, times, generatedTokens } = await inferInTime(model, question, options);
  for (const failure of failures) logInternal(failure, log);
  log.debug({ times, generatedTokens }, 'stages');
  return {
    modelName: request.modelName,
    modelVersion: MODEL_VERSION,
    id,
    parameters: { precision: { parameterChoice: { case: 'stringParam', value: precision } } },
    outputs: outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape: shape.map(BigInt) })),
    rawOutputContents: outputs.map(encodeTensor),
  };
}

/**
 * The model that a message names. An empty version stands for the only one there is.
 * @throws HandlerError `NOT_FOUND` or `NOT_READY`.
 */
export function findVersion(models: readonly Handler[], name: string, version: string): Handler {
  return findModel(models, name, version === '' ? undefined : version);
}
