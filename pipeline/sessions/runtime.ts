import { env, InferenceSession, Tensor } from 'onnxruntime-node';
import type { Graph } from '../../onnx/graph.ts';
import { encodeModel } from '../../onnx/model-proto.ts';
import type { ExecutionProvider } from './execution-provider-choices.ts';
import { setRuntimeVariables } from './runtime-variables.ts';

/** The only file that imports onnxruntime-node. docs/decisions/0003-runtime-options.md explains each option. */

// Every failure is thrown as well; the native log would only repeat it on stderr.
env.logLevel = 'fatal';
setRuntimeVariables();

export interface RuntimeOptions {
  readonly executionProvider: ExecutionProvider;
  /** The number of a CUDA device; the first where it is absent. */
  readonly deviceId?: number | undefined;
  /** Threads that one run computes with. */
  readonly threadCount: number;
  /** Folder that the graph's external data is relative to; a real path. */
  readonly dataFolder?: string;
  /** Folds constants at load. Weights of float16 or bfloat16 would otherwise be widened at every run. */
  readonly foldConstants?: boolean;
  /**
   * Copies constant matrices into the order that products read them in. This takes private memory and time at load, and
   * makes runs of few rows faster.
   */
  readonly prepacksWeights?: boolean;
  /**
   * Lets threads look for work after a run is over. They start the next run sooner, and until then take the processor
   * from every other session.
   */
  readonly keepsThreadsSpinning?: boolean;
}

export type TensorData = Uint8Array | Float32Array | BigInt64Array;

/** An input or output of a graph. The element type follows from the array, except for `bool`. */
export interface RuntimeTensor {
  readonly data: TensorData;
  readonly shape: readonly number[];
  readonly isBool?: boolean;
}

export interface Session {
  /**
   * Runs the graph once, which blocks the calling thread.
   * @param leftOut outputs that are not copied out of the graph; it may lack them.
   * @throws Error of the runtime when a shape does not fit.
   */
  run(
    inputs: Readonly<Record<string, RuntimeTensor>>,
    leftOut?: readonly string[],
  ): Promise<Readonly<Record<string, RuntimeTensor>>>;
  release(): Promise<void>;
}

/** Loads a graph. Weights are mapped from their files; they are copied or repacked only where the options say so. */
export async function createSession(graph: Graph, options: RuntimeOptions): Promise<Session> {
  const session = await InferenceSession.create(encodeModel(graph), {
    executionProviders: [providerOptions(options)],
    intraOpNumThreads: options.threadCount,
    interOpNumThreads: 1,
    graphOptimizationLevel: options.foldConstants === true ? 'basic' : 'disabled',
    logSeverityLevel: 4,
    extra: {
      session: {
        disable_prepacking: options.prepacksWeights === true ? '0' : '1',
        intra_op: { allow_spinning: options.keepsThreadsSpinning === true ? '1' : '0' },
        ...(options.dataFolder === undefined
          ? {}
          : { model_external_initializers_file_folder_path: options.dataFolder }),
      },
    },
  });
  const names = session.outputNames;
  return {
    async run(inputs, leftOut = []) {
      const feeds = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, toTensor(tensor)]));
      const outputs = await session.run(
        feeds,
        names.filter((name) => !leftOut.includes(name)),
      );
      return Object.fromEntries(
        Object.entries(outputs).map(([name, tensor]) => [name, fromTensor(name, tensor as Tensor)]),
      );
    },
    release: () => session.release(),
  };
}

function providerOptions({ executionProvider, deviceId }: RuntimeOptions) {
  return executionProvider === 'cuda' ? ({ name: 'cuda', deviceId: deviceId ?? 0 } as const) : executionProvider;
}

function toTensor({ data, shape, isBool }: RuntimeTensor): Tensor {
  if (data instanceof Float32Array) return new Tensor('float32', data, shape);
  if (data instanceof BigInt64Array) return new Tensor('int64', data, shape);
  return new Tensor(isBool === true ? 'bool' : 'uint8', data, shape);
}

function fromTensor(name: string, tensor: Tensor): RuntimeTensor {
  const { data, dims } = tensor;
  if (data instanceof Float32Array || data instanceof BigInt64Array || data instanceof Uint8Array)
    return { data, shape: dims };
  throw new TypeError(`Expected output ${name} to be uint8, int64 or float32, got ${tensor.type}.`);
}
