import { createRegistry, type DescFile, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { nestedTypes } from '@bufbuild/protobuf/reflect';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { status } from '@grpc/grpc-js';
import { requireMessage } from './codec.ts';
import { file_blip_v1_visual_question_answering as promptFile } from './generated/blip/v1/visual_question_answering_pb.js';
import { file_grpc_health_v1_health as healthFile } from './generated/grpc/health/v1/health_pb.js';
import {
  file_grpc_reflection_v1_reflection as reflectionFile,
  ServerReflection,
  type ServerReflectionRequest,
  type ServerReflectionResponseSchema,
} from './generated/grpc/reflection/v1/reflection_pb.js';
import { file_jina_jina as jinaFile } from './generated/jina/jina_pb.js';
import { file_open_inference as inferenceFile } from './generated/open_inference_pb.js';
import { addBidirectional, type MethodContext } from './methods.ts';

type NestedType = ReturnType<typeof nestedTypes> extends Iterable<infer Type> ? Type : never;
type Answer = NonNullable<MessageInitShape<typeof ServerReflectionResponseSchema>['messageResponse']>;

const serviceFiles: readonly DescFile[] = [inferenceFile, promptFile, jinaFile, healthFile, reflectionFile];
const files = [...new Set(serviceFiles.flatMap(importsFirst))];
const registry = createRegistry(...files);
const filesBySymbol = new Map(files.flatMap((file) => symbolsOf(file).map((symbol) => [symbol, file] as const)));

/** Tools from before 2023 ask for the service by this name, with the same messages. */
const OLDER_NAME = 'grpc.reflection.v1alpha.ServerReflection';

/**
 * Adds server reflection, from which tools such as grpcurl learn the services. It is open: it tells public facts only.
 * Source: grpc/grpc, doc/server-reflection.md.
 */
export function addReflectionService(context: MethodContext): void {
  const { serverReflectionInfo } = ServerReflection.method;
  const older = { ...serverReflectionInfo, parent: { ...ServerReflection, typeName: OLDER_NAME } };
  for (const method of [serverReflectionInfo, older]) {
    addBidirectional(context, method, async ({ next, write }) => {
      for (let received = await next(); received !== undefined; received = await next()) {
        const request = requireMessage(received);
        await write({ validHost: request.host, originalRequest: request, messageResponse: answer(request) });
      }
    });
  }
}

function answer({ messageRequest: { case: kind, value } }: ServerReflectionRequest): Answer {
  switch (kind) {
    case 'listServices': {
      const service = serviceFiles.flatMap(({ services }) => services.map(({ typeName: name }) => ({ name })));
      return { case: 'listServicesResponse', value: { service } };
    }
    case 'fileByFilename':
      return fileAnswer(files.find(({ proto }) => proto.name === value));
    case 'fileContainingSymbol':
      return fileAnswer(filesBySymbol.get(value));
    case 'allExtensionNumbersOfType':
      if (registry.getMessage(value) === undefined) return notFound();
      return { case: 'allExtensionNumbersResponse', value: { baseTypeName: value, extensionNumber: [] } };
    case 'fileContainingExtension':
      return notFound();
    default:
      return errorAnswer(status.INVALID_ARGUMENT, 'Expected a request for files or services, got none.');
  }
}

/** A file behind all files that it imports, each of which is behind those that it imports itself. */
function importsFirst(file: DescFile): readonly DescFile[] {
  return [...new Set([...file.dependencies.flatMap(importsFirst), file])];
}

/** Full names of everything in a file: services and methods, messages with fields and oneofs, enums with values. */
function symbolsOf(file: DescFile): readonly string[] {
  return [...nestedTypes(file)].flatMap((type) => [type.typeName, ...membersOf(type, file.proto.package)]);
}

function membersOf(type: NestedType, packageName: string): readonly string[] {
  const names = (scope: string, members: readonly { readonly name: string }[]) =>
    members.map(({ name }) => `${scope}.${name}`);
  switch (type.kind) {
    case 'service':
      return names(type.typeName, type.methods);
    case 'message':
      return names(type.typeName, [...type.fields, ...type.oneofs]);
    case 'enum':
      return names(type.parent?.typeName ?? packageName, type.values);
    default:
      return [];
  }
}

function fileAnswer(file: DescFile | undefined): Answer {
  if (file === undefined) return notFound();
  const wanted = importsFirst(file).toReversed(); // The file itself comes first, as in other servers.
  const fileDescriptorProto = wanted.map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
  return { case: 'fileDescriptorResponse', value: { fileDescriptorProto } };
}

function notFound(): Answer {
  return errorAnswer(
    status.NOT_FOUND,
    'Expected the name of a service, method or message of this server, got another.',
  );
}

function errorAnswer(errorCode: number, errorMessage: string): Answer {
  return { case: 'errorResponse', value: { errorCode, errorMessage } };
}
