import { type InferAnswer, tensorsOf, typedBytes } from '../../support/grpc.ts';
import {
  authorizationOf,
  type ContractRequest,
  type ContractServers,
  type DoorUnderContract,
  modelOfServer,
} from './request.ts';

/** The two methods of gRPC as doors, each with a function that asks it. The list is at the end. */

async function askModelInfer({ captioning }: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const metadata = authorizationOf(request);
  const call = captioning.client.call<InferAnswer>('ModelInfer', messageOf(request), { metadata });
  return captionsOf(await call.catch(throwCode));
}

async function askModelStreamInfer(
  { captioning }: ContractServers,
  request: ContractRequest,
): Promise<readonly string[]> {
  const call = captioning.client.open('ModelStreamInfer', { metadata: authorizationOf(request) });
  call.end(messageOf(request));
  const [answer] = await call.toArray().catch(throwCode);
  const { error_message: error, infer_response: response } = answer; // The fields of ModelStreamInferResponse.
  if (error !== '') throw new Error(error.split(':')[0]);
  return captionsOf(response);
}

function messageOf({ images, model = 'captioning', size = images.length, parameters = {} }: ContractRequest): object {
  const typedParameters = Object.entries(parameters).map(
    ([name, value]) => [name, typeof value === 'number' ? { int64_param: value } : { string_param: value }] as const,
  );
  return {
    model_name: model,
    inputs: [{ ...typedBytes('img_url', images), shape: [size] }],
    parameters: Object.fromEntries(typedParameters),
  };
}

function captionsOf(answer: InferAnswer): readonly string[] {
  return (tensorsOf(answer)[0]?.data ?? []).map(String);
}

/** The failure of a call has our code in its metadata. */
function throwCode(failure: unknown): never {
  const { metadata } = failure as { metadata: { get(name: string): readonly unknown[] } }; // grpc-js: a ServiceError.
  throw new Error(String(metadata.get('error-code')[0]));
}

export const grpcDoors: readonly DoorUnderContract[] = [
  { name: 'gRPC', lacks: [], ask: askModelInfer, model: modelOfServer },
  { name: 'a stream of gRPC', lacks: [], ask: askModelStreamInfer, model: modelOfServer },
];
