import type InferlessModel from '../../app.ts';
import { modelMetadata } from '../../protocol/metadata.ts';
import { areReady, isReady } from '../service/readiness.ts';
import { isUnnamed, repositoryIndex } from '../service/served-models.ts';
import { version } from '../service/version.ts';
import type { Draining } from './drain.ts';
import { GRPCInferenceService } from './generated/open_inference_pb.js';
import type { CallGuard } from './guard.ts';
import { findVersion, infer } from './infer.ts';
import { addBidirectional, addUnary, type Call, type MethodContext, pathOf } from './methods.ts';
import { streamInfer } from './stream-infer.ts';

/** Names as Triton gives them. */
const extensions = ['model_repository'];

const { method } = GRPCInferenceService;

/** Paths of the methods that ask a model. */
export const inferencePaths: ReadonlySet<string> = new Set([method.modelInfer, method.modelStreamInfer].map(pathOf));

export interface InferenceServiceOptions {
  readonly models: readonly InferlessModel[];
  readonly guard: CallGuard;
  readonly draining: Draining;
  /** The most bytes of a message that asks a model. */
  readonly maxRequestBytes: number;
  /** The most requests of one stream that are under way. */
  readonly maxStreamed: number;
}

/** The service of the Open Inference Protocol, and what Triton adds to it. */
export function addInferenceService(context: MethodContext, options: InferenceServiceOptions): void {
  addHealthMethods(context, options);
  addMetadataMethods(context, options);
  addInferenceMethods({ ...context, maxMessageBytes: options.maxRequestBytes }, options);
}

function addHealthMethods(context: MethodContext, { models, draining }: InferenceServiceOptions): void {
  addUnary(context, method.serverLive, () => ({ live: true }));
  addUnary(context, method.serverReady, () => ({ ready: areReady(models, draining) }));
  // A model that is named by its task has no name before it is loaded: whatever is asked for may be it.
  addUnary(context, method.modelReady, ({ name, version: asked }) => ({
    ready: models.some(isUnnamed) ? false : isReady(findVersion(models, name, asked), draining),
  }));
}

function addMetadataMethods(context: MethodContext, { models }: InferenceServiceOptions): void {
  addUnary(context, method.serverMetadata, () => ({ name: 'blip-handler', version, extensions }));
  addUnary(context, method.modelMetadata, ({ name, version: asked }) => {
    const { inputs, outputs, ...rest } = modelMetadata(name, findVersion(models, name, asked).schema);
    const tensors = (fields: typeof inputs) => fields.map((field) => ({ ...field, shape: field.shape.map(BigInt) }));
    return { ...rest, versions: [...rest.versions], inputs: tensors(inputs), outputs: tensors(outputs) };
  });
  addUnary(context, method.repositoryIndex, ({ ready }) => ({
    models: repositoryIndex(models).filter(({ state }) => !ready || state === 'READY'),
  }));
}

function addInferenceMethods(
  context: MethodContext,
  { models, guard, draining, maxStreamed }: InferenceServiceOptions,
): void {
  const { logOf } = context;
  const counted = async <T>(work: () => Promise<T>): Promise<T> => {
    const end = draining.begin();
    try {
      return await work();
    } finally {
      end();
    }
  };
  const recordOf = ({ metadata }: Pick<Call, 'metadata'>) => ({ log: logOf(metadata), span: guard.spanOf(metadata) });
  addUnary(context, method.modelInfer, (request, call) =>
    counted(() => guard.handle(call.metadata, () => infer(models, request, call.signal, recordOf(call)))),
  );
  addBidirectional(context, method.modelStreamInfer, (stream) => {
    const record = recordOf(stream);
    return streamInfer(stream, {
      maxRunning: maxStreamed,
      log: record.log,
      answer: (request) =>
        counted(() => guard.handleStreamed(stream.metadata, () => infer(models, request, stream.signal, record))),
    });
  });
}
