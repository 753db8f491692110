import { once } from 'node:events';
import { connect, constants, type SessionOptions } from 'node:http2';
import { fileURLToPath } from 'node:url';
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { loadSync, type ServiceDefinition } from '@grpc/proto-loader';
import { expect, onTestFinished } from 'vitest';
import type Handler from '../../app.ts';
import { type GrpcServer, startGrpcServer } from '../../handlers/grpc/server.ts';
import { createAdmission } from '../../handlers/service/admission.ts';
import type { Log } from '../../handlers/service/log.ts';
import { finalizeModels } from '../../handlers/service/model-loading.ts';
import type { ServerSettings } from '../../handlers/service/server-settings.ts';
import type { NamedTensor } from '../../protocol/named-tensor.ts';
import { type RunningServer, startServer, type TestSettings } from './server.ts';

/**
 * A client of gRPC that knows the services from the .proto files, read by another library than the server's code is
 * generated with: what the two agree on is the protocol.
 */

const protoFolder = fileURLToPath(new URL('../../handlers/grpc/proto/', import.meta.url));
const definitions = loadSync(
  [
    'open_inference.proto',
    'blip/v1/visual_question_answering.proto',
    'jina/jina.proto',
    'grpc/health/v1/health.proto',
    'grpc/reflection/v1/reflection.proto',
  ],
  { includeDirs: [protoFolder], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true },
);

export const INFERENCE = 'inference.GRPCInferenceService';
export const HEALTH = 'grpc.health.v1.Health';
export const PROMPTS = 'blip.v1.VisualQuestionAnswering';

export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
};

/** A message as the .proto files name its fields. */
export type Message = Readonly<Record<string, unknown>>;

export interface CallOptions {
  readonly service?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

export interface GrpcClient {
  /** Calls a method of one answer. Rejects with the ServiceError of the call. */
  call<Answer = Message>(method: string, request?: object, options?: CallOptions): Promise<Answer>;
  /** Sends bytes as they are to such a method. */
  callRaw(method: string, bytes: Buffer, options?: CallOptions): Promise<Message>;
  open(method: string, options?: CallOptions): ClientDuplexStream<object, Message>;
  watch(method: string, request: object, options?: CallOptions): ClientReadableStream<Message>;
  close(): void;
}

export function methodOf(service: string, name: string): MethodDefinition<object, Message> {
  const method = (definitions[service] as ServiceDefinition)[name]; // A service, as tests name it.
  if (method === undefined) throw new Error(`Expected a method of ${service}, got ${name}.`);
  return method as MethodDefinition<object, Message>; // Of whatever messages it has.
}

function metadataOf(entries: CallOptions['metadata']): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(entries ?? {})) metadata.set(name, value);
  return metadata;
}

function optionsOf({ deadlineMs }: CallOptions): { deadline?: number } {
  return deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
}

export function grpcClient(
  port: number,
  channel: ChannelCredentials = credentials.createInsecure(),
  options: ClientOptions = {},
): GrpcClient {
  const client = new Client(`127.0.0.1:${port}`, channel, {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
    'grpc.enable_retries': 0,
    ...options,
  });
  const unary = (
    path: string,
    serialize: (request: object) => Buffer,
    deserialize: (bytes: Buffer) => Message,
    request: object,
    called: CallOptions,
  ) =>
    new Promise<Message>((resolve, reject) => {
      const call = client.makeUnaryRequest(
        path,
        serialize,
        deserialize,
        request,
        metadataOf(called.metadata),
        optionsOf(called),
        (error, answer) => (error === null ? resolve(answer ?? {}) : reject(error)),
      );
      called.signal?.addEventListener('abort', () => call.cancel());
    });
  return {
    async call<Answer>(name: string, request: object = {}, called: CallOptions = {}) {
      const { path, requestSerialize, responseDeserialize } = methodOf(called.service ?? INFERENCE, name);
      return (await unary(path, requestSerialize, responseDeserialize, request, called)) as Answer; // As the test has it.
    },
    async callRaw(name, bytes, called = {}) {
      const { path, responseDeserialize } = methodOf(called.service ?? INFERENCE, name);
      return await unary(path, () => bytes, responseDeserialize, {}, called);
    },
    open(name, called = {}) {
      const { path, requestSerialize, responseDeserialize } = methodOf(called.service ?? INFERENCE, name);
      const metadata = metadataOf(called.metadata);
      return client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata, optionsOf(called));
    },
    watch(name, request, called = {}) {
      const { path, requestSerialize, responseDeserialize } = methodOf(called.service ?? INFERENCE, name);
      const metadata = metadataOf(called.metadata);
      return client.makeServerStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        optionsOf(called),
      );
    },
    close: () => client.close(),
  };
}

/** The bytes of a message as they stand in a stream of HTTP/2. */
export function messageFrame(method: string, request: object): Buffer {
  const bytes = methodOf(INFERENCE, method).requestSerialize(request);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

/** A call without a client: what is written to the stream is sent as it is. */
export function openRaw(
  port: number,
  method: string,
  headers: Readonly<Record<string, string>> = {},
  options: SessionOptions = {},
) {
  const session = connect(`http://127.0.0.1:${port}`, options);
  session.on('error', () => undefined); // The server may end it.
  onTestFinished(() => session.destroy());
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    [constants.HTTP2_HEADER_PATH]: methodOf(INFERENCE, method).path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  stream.on('error', () => undefined);
  const answered = once(stream, 'response').then(([given]) => given);
  return { session, stream, headers: answered };
}

export interface RunningDoors extends RunningServer {
  readonly grpc: GrpcServer;
  readonly client: GrpcClient;
}

/** Both doors of one model. */
export async function startDoors(
  changes: Partial<TestSettings> = {},
  options: { readonly initialize?: boolean } = {},
): Promise<RunningDoors> {
  const server = await startServer(changes, options);
  const grpc = await startGrpc([server.model], server.settings);
  const client = grpcClient(grpc.port);
  return {
    ...server,
    grpc,
    client,
    async close() {
      client.close();
      grpc.close();
      await server.close();
    },
  };
}

/** A client of several loaded models, until the running test ends. */
export async function grpcClientOf(models: readonly Handler[], settings: ServerSettings): Promise<GrpcClient> {
  const grpc = await startGrpc(models, settings);
  const client = grpcClient(grpc.port);
  onTestFinished(async () => {
    client.close();
    grpc.close();
    await finalizeModels(models);
  });
  await Promise.all(models.map((model) => model.initialize()));
  return client;
}

/** The gRPC server alone, on any port. */
export function startGrpc(models: readonly Handler[], settings: ServerSettings): Promise<GrpcServer> {
  const admission = createAdmission(settings);
  const host = '127.0.0.1';
  return startGrpcServer({ models, settings: { ...settings, grpcPort: 0 }, host, log: silentLog, admission });
}

export interface InferAnswer {
  readonly model_name: string;
  readonly model_version: string;
  readonly id: string;
  readonly outputs: readonly { readonly name: string; readonly datatype: string; readonly shape: readonly number[] }[];
  readonly raw_output_contents: readonly Buffer[];
}

/** A tensor of BYTES with typed contents. */
export function typedBytes(name: string, values: readonly (string | Uint8Array)[]): object {
  const bytes_contents = values.map((value) => Buffer.from(value));
  return { name, datatype: 'BYTES', shape: [values.length], contents: { bytes_contents } };
}

/** The elements of a tensor of BYTES, each behind its length. */
export function rawBytes(values: readonly (string | Uint8Array)[]): Buffer {
  return Buffer.concat(
    values.flatMap((value) => {
      const element = Buffer.from(value);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(element.length);
      return [length, element];
    }),
  );
}

/** The outputs of an answer with their values, as JSON has them over HTTP. */
export function tensorsOf(answer: InferAnswer): readonly NamedTensor[] {
  expect(answer.raw_output_contents).toHaveLength(answer.outputs.length);
  return answer.outputs.map(({ name, datatype, shape }, index) => {
    const raw = answer.raw_output_contents[index] ?? Buffer.alloc(0);
    return { name, datatype: datatype as NamedTensor['datatype'], shape, data: valuesOf(datatype, raw) }; // Of ours.
  });
}

function valuesOf(datatype: string, raw: Buffer): readonly (string | number)[] {
  if (datatype === 'FP32') return Array.from({ length: raw.length / 4 }, (_, index) => raw.readFloatLE(4 * index));
  if (datatype === 'INT64')
    return Array.from({ length: raw.length / 8 }, (_, index) => Number(raw.readBigInt64LE(8 * index)));
  const values: string[] = [];
  for (let offset = 0; offset < raw.length; ) {
    const end = offset + 4 + raw.readUInt32LE(offset);
    values.push(raw.toString('utf8', offset + 4, end));
    offset = end;
  }
  return values;
}

/** Holds a failed call to a status and our code, and returns its message. */
export async function expectStatus(
  call: Promise<unknown>,
  code: keyof typeof status,
  errorCode: string,
): Promise<string> {
  const error = await call.then(
    (answer) => {
      throw new Error(`Expected the call to fail, got ${JSON.stringify(answer).slice(0, 200)}`);
    },
    (failure: ServiceError) => failure,
  );
  expect({ code: status[error.code], errorCode: error.metadata?.get('error-code') }, String(error)).toEqual({
    code,
    errorCode: [errorCode],
  });
  expect(error.details).toMatch(/\S/);
  return error.details;
}
