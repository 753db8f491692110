import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Client, credentials } from '@grpc/grpc-js';
import { expect, onTestFinished, test } from 'vitest';
import { HEALTH, INFERENCE, type Message, PROMPTS } from '../../support/grpc.ts';
import { withDoors } from '../../support/with-server.ts';

const REFLECTION = 'grpc.reflection.v1.ServerReflection';

const doors = withDoors({ apiTokens: ['one'] }, { initialize: false });

async function reflect(...requests: readonly object[]): Promise<readonly Message[]> {
  const call = doors.client.open('ServerReflectionInfo', { service: REFLECTION });
  for (const request of requests) call.write(request);
  call.end();
  return (await call.toArray()) as Message[]; // The .proto names the message.
}

interface FileAnswer {
  readonly file_descriptor_response: { readonly file_descriptor_proto: readonly Buffer[] };
}

test('lists the services', async () => {
  const [answer] = await reflect({ list_services: '' });
  const jina = [
    'JinaRPC',
    'JinaSingleDataRequestRPC',
    'JinaDiscoverEndpointsRPC',
    'JinaGatewayDryRunRPC',
    'JinaInfoRPC',
  ];
  const names = [INFERENCE, PROMPTS, ...jina.map((name) => `jina.${name}`), HEALTH, REFLECTION];
  const services = names.map((name) => ({ name }));
  expect(answer).toMatchObject({
    message_response: 'list_services_response',
    list_services_response: { service: services },
  });
});

test('sends the file of a service, method, message or field, and all files that it imports', async () => {
  const symbols = [
    INFERENCE,
    `${INFERENCE}.ModelInfer`,
    'inference.ModelInferRequest',
    'inference.InferParameter.bool_param',
    'inference.InferParameter.parameter_choice',
  ];
  const answers = await reflect(...symbols.map((symbol) => ({ file_containing_symbol: symbol })), {
    file_by_filename: 'open_inference.proto',
  });
  expect(answers).toHaveLength(6);
  for (const answer of answers as unknown as readonly FileAnswer[]) {
    const file = answer.file_descriptor_response.file_descriptor_proto.map((bytes) =>
      fromBinary(FileDescriptorProtoSchema, bytes),
    );
    const registry = createFileRegistry({ $typeName: FileDescriptorSetSchema.typeName, file });
    const methods = registry.getService(INFERENCE)?.methods.map(({ name }) => name);
    expect(methods).toContain('ModelStreamInfer');
    expect(
      registry.getMessage('inference.ModelInferRequest')?.fields.map(({ name, number }) => [name, number]),
    ).toEqual([
      ['model_name', 1],
      ['model_version', 2],
      ['id', 3],
      ['parameters', 4],
      ['inputs', 5],
      ['outputs', 6],
      ['raw_input_contents', 7],
    ]);
  }
});

test.each([
  [PROMPTS, 'AnswerBatch', ['google/protobuf/struct.proto']],
  ['jina.JinaRPC', 'Call', ['jina/docarray.proto', 'google/protobuf/struct.proto', 'google/protobuf/empty.proto']],
])('sends the imports of %s with its file', async (service, method, imports) => {
  const [answer] = (await reflect({ file_containing_symbol: service })) as unknown as readonly FileAnswer[];
  const bytes = answer?.file_descriptor_response.file_descriptor_proto ?? [];
  const file = bytes.map((each) => fromBinary(FileDescriptorProtoSchema, each));
  expect(file.slice(1).map(({ name }) => name)).toEqual(imports);
  const registry = createFileRegistry({ $typeName: FileDescriptorSetSchema.typeName, file: file.toReversed() });
  expect(registry.getService(service)?.methods.map(({ name }) => name)).toContain(method);
});

test('finds an enum by its name, and its values by names beside it', async () => {
  const scope = 'grpc.health.v1.HealthCheckResponse';
  for (const symbol of [`${scope}.ServingStatus`, `${scope}.SERVING`]) {
    const [answer] = await reflect({ file_containing_symbol: symbol });
    expect(answer).toMatchObject({ message_response: 'file_descriptor_response' });
  }
});

test('reports unknown names', async () => {
  const none = { message_response: 'error_response', error_response: { error_code: 5 } };
  const answers = await reflect(
    { file_containing_symbol: 'inference.Other' },
    { file_containing_symbol: 'Other' },
    { file_containing_symbol: 'inference.ModelInferRequest.bogus' },
    { file_containing_symbol: `${INFERENCE}.Nothing` },
    { file_containing_symbol: 'grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING' },
    { file_by_filename: '../package.json' },
    { file_containing_extension: { containing_type: 'inference.ModelInferRequest', extension_number: 7 } },
    { all_extension_numbers_of_type: 'inference.Other' },
    { all_extension_numbers_of_type: 'inference.ModelInferRequest' },
    {},
  );
  expect(answers.slice(0, -2)).toMatchObject(Array.from({ length: 8 }, () => none));
  expect(answers.at(-2)).toMatchObject({ all_extension_numbers_response: { extension_number: [] } });
  expect(answers.at(-1)).toMatchObject({ error_response: { error_code: 3 } });
});

test('answers under its older name as well', async () => {
  const client = new Client(`127.0.0.1:${doors.grpc.port}`, credentials.createInsecure());
  onTestFinished(() => client.close());
  const listServices = Buffer.from([0x3a, 0]); // Field 7, empty.
  const call = client.makeBidiStreamRequest(
    '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
    (bytes: Buffer) => bytes,
    (bytes: Buffer) => bytes.toString('latin1'),
  );
  call.write(listServices);
  call.end();
  expect(await call.toArray()).toEqual([expect.stringContaining(INFERENCE)]);
});
