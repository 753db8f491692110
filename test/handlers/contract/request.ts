import type Handler from '../../../app.ts';
import type { ErrorCode } from '../../../protocol/errors.ts';
import type { NamedTensor } from '../../../protocol/named-tensor.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { type RunningDoors, startDoors } from '../../support/grpc.ts';
import { startFunction, type TestFunction } from '../../support/lambda.ts';
import { bytes, INFER_PATH, type RunningServer, startServer, type TestSettings } from '../../support/server.ts';

/** A request and its answer in the terms that all doors share, and the servers that stand behind the doors. */

export interface ContractRequest {
  readonly images: readonly string[];
  readonly parameters?: Readonly<Record<string, number | string>>;
  /** The number of images in the tensor's shape, where it differs from their number. */
  readonly size?: number;
  /** Empty for a request without a token. */
  readonly token?: string;
  readonly model?: string;
}

/** Captions, empty for an image that failed; or the code of an error. */
export type ContractAnswer = readonly string[] | string;

/**
 * A feature that some doors lack: several images in one request, of which one may fail; images by their addresses;
 * parameters; shapes; a choice of model; a token of ours; a limit of ours for bodies.
 */
export type Feature = 'several' | 'partial' | 'sources' | 'parameters' | 'shapes' | 'model' | 'token' | 'limit';

export interface DoorUnderContract {
  readonly name: string;
  readonly lacks: readonly Feature[];
  /** The model behind the door. */
  readonly model: (servers: ContractServers) => Handler;
  /** Captions; an error's code is the message of the Error that it throws. */
  readonly ask: (servers: ContractServers, request: ContractRequest) => Promise<readonly string[]>;
  /** The answer that these images should have; the model's captions where this is absent. */
  readonly expected?: (servers: ContractServers, images: readonly string[]) => Promise<readonly string[]>;
  /** How the door's client sees a code; unchanged where this is absent. */
  readonly seenAs?: (code: ErrorCode) => string;
}

export interface ContractServers {
  /** HTTP and gRPC around one model that captions. */
  readonly captioning: RunningDoors;
  /** HTTP around a CLIP model. */
  readonly clip: RunningServer;
  readonly lambda: TestFunction;
  close(): Promise<void>;
}

const contractSettings = { apiTokens: ['secret'], maxBodyBytes: 1_000_000 };

/** Starts all servers. @param clipQueueSize a request with a text besides images counts more items. */
export async function startContractServers(
  changes: Pick<TestSettings, 'maxQueueSize' | 'requestTimeoutMs'>,
  clipQueueSize = changes.maxQueueSize,
): Promise<ContractServers> {
  const settings = { ...contractSettings, ...changes };
  const lambda = startFunction({ ...settings, lambdaAuthorizer: 'tokens' });
  const [captioning, clip] = await Promise.all([
    startDoors(settings),
    startServer({ ...settings, maxQueueSize: clipQueueSize, checkpoint: checkpointFolder('clip-placeholder-end') }),
    lambda.environment.load(),
  ]);
  const close = async () => {
    await Promise.all([captioning.close(), clip.close(), lambda.close()]);
  };
  return { captioning, clip, lambda, close };
}

export const modelOfServer = ({ captioning }: ContractServers): Handler => captioning.model;

export function modelOfLambda({ lambda }: ContractServers): Handler {
  const [model] = lambda.environment.models;
  if (model === undefined) throw new Error('Expected the function to have a model, got none.');
  return model;
}

export function authorizationOf({ token = 'secret' }: ContractRequest): Record<string, string> {
  return token === '' ? {} : { authorization: `Bearer ${token}` };
}

export const inferPath = ({ model = 'captioning' }: ContractRequest): string => INFER_PATH.replace('captioning', model);

/** The request as the Open Inference Protocol has it, with the model in the path. */
export function inferBody({ images, parameters, size = images.length }: ContractRequest): object {
  return { inputs: [{ ...bytes('img_url', images), shape: [size] }], parameters };
}

/** The request as the Open Inference Protocol has it, with the model in the body. */
export function namedInferBody(request: ContractRequest): object {
  return { ...inferBody(request), ...(request.model === undefined ? {} : { model_name: request.model }) };
}

export const captionsIn = (text: string): readonly string[] => JSON.parse(text).outputs[0].data;

/** The model's own answer, asked without any door. */
export async function answerOfModel(
  model: Handler,
  images: readonly string[],
  inputs = {},
): Promise<readonly NamedTensor[]> {
  return (await model.inferTensors({ inputs: { img_url: images, ...inputs } })).outputs;
}
