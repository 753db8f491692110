import type Handler from '../../app.ts';
import { modelMetadata } from '../../protocol/metadata.ts';
import type { Drain } from '../service/drain.ts';
import { areReady, isReady } from '../service/readiness.ts';
import { isUnnamed, repositoryIndex } from '../service/served-models.ts';
import { version } from '../service/version.ts';
import { GRPCInferenceService } from './generated/open_inference_pb.js';
import type { CallGuard } from './guard.ts';
import { findVersion, infer } from './infer.ts';
import { addBidirectional, addUnary, type MethodContext, pathOf } from './methods.ts';
import { streamInfer } from './stream-infer.ts';

/** Triton's names of the protocol's extensions. */
const extensions = ['model_repository'];

const { method } = GRPCInferenceService;

/** Paths of the methods that ask a model. */
export const inferencePaths: ReadonlySet<string> = new Set([method.modelInfer, method.modelStreamInfer].map(pathOf));

export interface InferenceServiceOptions {
  readonly models: readonly Handler[];
  readonly guard: CallGuard;
  readonly drain: Drain;
  /** The most bytes of a message that asks a model. */
  readonly maxRequestBytes: number;
  /** The most requests of one stream that run at a time. */
  readonly maxStreamed: number;
  /** The most milliseconds that the service allows a request; `undefined` for any time. */
  readonly timeLimitMs: number | undefined;
}

/** Adds the service of the Open Inference Protocol, with Triton's additions. */
export function addInferenceService(context: MethodContext, options: InferenceServiceOptions): void {
  addHealthMethods(context, options);
  addMetadataMethods(context, options);
  addInferenceMethods({ ...context, maxMessageBytes: options.maxRequestBytes }, options);
}

function addHealthMethods(context: MethodContext, { models, drain }: InferenceServiceOptions): void {
  addUnary(context, method.serverLive, () => ({ live: true }));
  addUnary(context, method.serverReady, () => ({ ready: areReady(models, drain) }));
  // A model that is named by its task has no name before it is loaded, so that any unknown name may be its name.
  addUnary(context, method.modelReady, ({ name, version: modelVersion }) => ({
    ready: models.some(isUnnamed) ? false : isReady(findVersion(models, name, modelVersion), drain),
  }));
}

function addMetadataMethods(context: MethodContext, { models }: InferenceServiceOptions): void {
  addUnary(context, method.serverMetadata, () => ({ name: 'blip-handler', version, extensions }));
  addUnary(context, method.modelMetadata, ({ name, version: modelVersion }) => {
    const { schema, model } = findVersion(models, name, modelVersion);
    const { inputs, outputs, parameters, ...rest } = modelMetadata(name, schema, model?.precision);
    const tensors = (fields: typeof inputs) => fields.map((field) => ({ ...field, shape: field.shape.map(BigInt) }));
    const properties = { ...parameters };
    return { ...rest, properties, versions: [...rest.versions], inputs: tensors(inputs), outputs: tensors(outputs) };
  });
  addUnary(context, method.repositoryIndex, ({ ready }) => ({
    models: repositoryIndex(models).filter(({ state }) => !ready || state === 'READY'),
  }));
}

function addInferenceMethods(
  context: MethodContext,
  { models, guard, drain, maxStreamed, timeLimitMs }: InferenceServiceOptions,
): void {
  addUnary(context, method.modelInfer, (request, { metadata, signal }) => {
    const call = { ...guard.recordOf(metadata), signal, timeLimitMs, client: guard.tokenOf(metadata) };
    return drain.count(() => guard.handle(metadata, () => infer(models, request, call)));
  });
  addBidirectional(context, method.modelStreamInfer, (stream) => {
    const { metadata, signal } = stream;
    const call = { ...guard.recordOf(metadata), signal, timeLimitMs, client: guard.tokenOf(metadata) };
    return streamInfer(stream, {
      maxRunning: maxStreamed,
      log: call.log,
      answer: (request, lengthBytes) =>
        drain.count(() => guard.handleStreamed(metadata, lengthBytes, () => infer(models, request, call))),
    });
  });
}
