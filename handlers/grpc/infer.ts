import type { MessageInitShape } from '@bufbuild/protobuf';
import type Handler from '../../app.ts';
import { encodeTensor } from '../../protocol/binary-tensor.ts';
import { MODEL_VERSION } from '../../protocol/metadata.ts';
import { askModel, findVersion, type InferCall } from './ask-model.ts';
import type { ModelInferRequest, ModelInferResponseSchema } from './generated/open_inference_pb.js';
import { readInferRequest } from './infer-request.ts';

/**
 * Answers one inference request. Values are always raw: every client can read them so, and some clients only so.
 * @throws HandlerError as `readInferRequest`, `findVersion` and `askModel` do.
 */
export async function infer(
  models: readonly Handler[],
  request: ModelInferRequest,
  call: InferCall,
): Promise<MessageInitShape<typeof ModelInferResponseSchema>> {
  const model = findVersion(models, request.modelName, request.modelVersion);
  const { id = '', ...question } = readInferRequest(request, model.schema);
  const { outputs, precision } = await askModel(model, question, call);
  return {
    modelName: request.modelName,
    modelVersion: MODEL_VERSION,
    id,
    parameters: { precision: { parameterChoice: { case: 'stringParam', value: precision } } },
    outputs: outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape: shape.map(BigInt) })),
    rawOutputContents: outputs.map(encodeTensor),
  };
}
