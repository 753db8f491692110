import { errorText } from '../../protocol/error-answer.ts';
import { modelMetadata } from '../../protocol/metadata.ts';
import { areReady, isReady } from '../service/readiness.ts';
import { isUnnamed, repositoryIndex } from '../service/served-models.ts';
import { version } from '../service/version.ts';
import { findVersion } from './ask-model.ts';
import { GRPCInferenceService } from './generated/open_inference_pb.js';
import { infer } from './infer.ts';
import { addUnary, type MethodContext, pathOf } from './methods.ts';
import { addModelStream, addModelUnary, type ModelServices } from './model-methods.ts';

/** Triton's names of the protocol's extensions. */
const extensions = ['model_repository'];

const { method } = GRPCInferenceService;

/** Paths of the methods that ask a model. */
export const inferencePaths: readonly string[] = [method.modelInfer, method.modelStreamInfer].map(pathOf);

/** Adds the service of the Open Inference Protocol, with Triton's additions. */
export function addInferenceService(context: MethodContext, services: ModelServices): void {
  addHealthMethods(context, services);
  addMetadataMethods(context, services);
  addInferenceMethods(context, services);
}

function addHealthMethods(context: MethodContext, { models, drain }: ModelServices): void {
  addUnary(context, method.serverLive, () => ({ live: true }));
  addUnary(context, method.serverReady, () => ({ ready: areReady(models, drain) }));
  // A model that is named by its task has no name before it is loaded, so that any unknown name may be its name.
  addUnary(context, method.modelReady, ({ name, version: modelVersion }) => ({
    ready: models.some(isUnnamed) ? false : isReady(findVersion(models, name, modelVersion), drain),
  }));
}

function addMetadataMethods(context: MethodContext, { models }: ModelServices): void {
  addUnary(context, method.serverMetadata, () => ({ name: 'blip-handler', version, extensions }));
  addUnary(context, method.modelMetadata, ({ name, version: modelVersion }) => {
    const { schema, model } = findVersion(models, name, modelVersion);
    const { inputs, outputs, parameters, ...rest } = modelMetadata(name, schema, model);
    const tensors = (fields: typeof inputs) => fields.map((field) => ({ ...field, shape: field.shape.map(BigInt) }));
    const properties = { ...parameters };
    return { ...rest, properties, versions: [...rest.versions], inputs: tensors(inputs), outputs: tensors(outputs) };
  });
  addUnary(context, method.repositoryIndex, ({ ready }) => ({
    models: repositoryIndex(models).filter(({ state }) => !ready || state === 'READY'),
  }));
}

function addInferenceMethods(context: MethodContext, services: ModelServices): void {
  const { models } = services;
  addModelUnary(context, services, method.modelInfer, (request, call) => infer(models, request, call));
  addModelStream(context, services, method.modelStreamInfer, {
    ask: async (request, call) => ({ inferResponse: await infer(models, request, call) }),
    failed: (error, request) => ({
      errorMessage: errorText(error),
      inferResponse: { modelName: request?.modelName ?? '', id: request?.id ?? '' },
    }),
  });
}
