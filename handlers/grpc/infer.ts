import type { MessageInitShape } from '@bufbuild/protobuf';
import type InferlessModel from '../../app.ts';
import { encodeTensor } from '../../protocol/binary-tensor.ts';
import { MODEL_VERSION } from '../../protocol/metadata.ts';
import { inferInTime } from '../service/deadline.ts';
import { logInternal } from '../service/log-internal.ts';
import { findModel } from '../service/served-models.ts';
import type { RequestSpan } from '../service/tracing.ts';
import type { ModelInferRequest, ModelInferResponseSchema } from './generated/open_inference_pb.js';
import { readInferRequest } from './infer-request.ts';
import type { Log } from './log.ts';

/** Where it shows what became of a call. */
export interface CallRecord {
  readonly log: Log;
  readonly span: RequestSpan | undefined;
}

/**
 * Answers one inference request. Values are always raw: every client reads them so, and some only so.
 * @param signal aborts when nobody waits for the answer any more; what is still queued is dropped then.
 * @throws HandlerError as `readInferRequest`, `findModel` and the model do; `DEADLINE_EXCEEDED` when the time is over that
 *   the request or the service gives it; the signal's reason when that aborts.
 */
export async function infer(
  models: readonly InferlessModel[],
  request: ModelInferRequest,
  signal: AbortSignal,
  { log, span }: CallRecord,
): Promise<MessageInitShape<typeof ModelInferResponseSchema>> {
  const model = findVersion(models, request.modelName, request.modelVersion);
  const { id = '', ...question } = readInferRequest(request, model.schema);
  const { outputs, failures, times, generatedTokens } = await inferInTime(
    model,
    question,
    signal,
    span?.eventsOf(model),
  );
  for (const failure of failures) logInternal(failure, log);
  log.debug({ times, generatedTokens }, 'stages');
  return {
    modelName: request.modelName,
    modelVersion: MODEL_VERSION,
    id,
    outputs: outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape: shape.map(BigInt) })),
    rawOutputContents: outputs.map(encodeTensor),
  };
}

/**
 * The model that a message names. Messages have an empty version for the only one there is.
 * @throws HandlerError `NOT_FOUND` or `NOT_READY`.
 */
export function findVersion(models: readonly InferlessModel[], name: string, version: string): InferlessModel {
  return findModel(models, name, version === '' ? undefined : version);
}
