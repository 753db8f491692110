import { create } from '@bufbuild/protobuf';
import type Handler from '../../../app.ts';
import { errorText } from '../../../protocol/error-answer.ts';
import { errorCodes, HandlerError, toHandlerError } from '../../../protocol/errors.ts';
import { areReady } from '../../service/readiness.ts';
import { namesOf } from '../../service/served-models.ts';
import { version } from '../../service/version.ts';
import type { InferCall } from '../ask-model.ts';
import {
  DataRequestProto_DataContentProtoSchema as DataContentSchema,
  type DataRequestProto,
  DataRequestProtoSchema,
  HeaderProtoSchema,
  JinaDiscoverEndpointsRPC,
  JinaGatewayDryRunRPC,
  JinaInfoRPC,
  JinaRPC,
  JinaSingleDataRequestRPC,
  StatusProto_StatusCode as StatusCode,
  type StatusProto,
  StatusProtoSchema,
} from '../generated/jina/jina_pb.js';
import { addUnary, type MethodContext, pathOf } from '../methods.ts';
import { addModelStream, addModelUnary, type ModelServices } from '../model-methods.ts';
import { reported } from '../statuses.ts';
import { answerPrompts, readPrompt } from './answer-prompts.ts';
import { answeredDocument, readDocument } from './jina-documents.ts';

/**
 * The services that Jina's clients and gateways call, with documents of DocArray 0.21.
 * Source: jina 3.14, jina/clients/base/grpc.py and jina/proto.
 */

const { call: callMethod } = JinaRPC.method;
const { process_single_data: singleMethod } = JinaSingleDataRequestRPC.method;

/** Paths of the methods that ask a model. */
export const jinaPaths: readonly string[] = [pathOf(callMethod), pathOf(singleMethod)];

/** The name that an error's header has in place of an executor's. */
const EXECUTOR = 'blip-handler';

export function addJinaServices(context: MethodContext, services: ModelServices): void {
  addProbes(context, services);
  const { models } = services;
  const echoing = { ...context, keepsUnknownFields: true };
  const ask = (request: DataRequestProto, call: InferCall) => answerDocuments(models, request, call);
  addModelStream(echoing, services, callMethod, { ask, failed });
  addModelUnary(echoing, services, singleMethod, async (request, call) => {
    try {
      return await ask(request, call);
    } catch (thrown) {
      // Jina's clients can repeat a call by its status, but not by the header of its answer.
      if (errorCodes[toHandlerError(thrown).code].retryable) throw thrown;
      return failed(reported(thrown, call.log), request);
    }
  });
}

/** They need no token, as probes have none. */
function addProbes(context: MethodContext, { models, drain }: ModelServices): void {
  addUnary(context, JinaGatewayDryRunRPC.method.dry_run, () => {
    if (areReady(models, drain)) return { code: StatusCode.SUCCESS };
    return errorStatus(new HandlerError('NOT_READY', 'Expected all models to be ready, got one that is not.'));
  });
  addUnary(context, JinaDiscoverEndpointsRPC.method.endpoint_discovery, () => ({
    endpoints: ['/', ...namesOf(models).map((name) => `/${name}`)],
  }));
  addUnary(context, JinaInfoRPC.method._status, () => ({ jina: { [EXECUTOR]: version } }));
}

/** @throws HandlerError where no document has an answer. */
async function answerDocuments(
  models: readonly Handler[],
  request: DataRequestProto,
  call: InferCall,
): Promise<DataRequestProto> {
  const { header, parameters, data } = request;
  const shared = { model: modelNameOf(header), parameters: withoutResults(parameters) };
  const documents = documentsOf(data);
  const prompts = documents.map((document) => readPrompt(() => ({ ...readDocument(document), ...shared })));
  const answers = await answerPrompts(models, prompts, call);
  const docs = answers.flatMap((answer, index) => {
    const document = documents[index];
    return document === undefined ? [] : [answeredDocument(document, answer)];
  });
  const content = create(DataContentSchema, { documents: { case: 'docs', value: { docs } } });
  return { ...withStatus(request, create(StatusProtoSchema)), data: content };
}

/** An executor or an endpoint names a model; the endpoint `/` leaves the choice to the server. */
function modelNameOf(header: DataRequestProto['header']): string {
  return header?.targetExecutor || (header?.execEndpoint ?? '').replace(/^\//, '');
}

/** Jina's clients add a parameter of their own, in which executors leave results. */
function withoutResults({ __results__, ...own }: DataRequestProto['parameters'] = {}) {
  return own;
}

/** @throws HandlerError `INVALID_REQUEST` for documents in Python's own form, which runs code when it is read. */
function documentsOf(data: DataRequestProto['data']) {
  const { case: kind, value } = data?.documents ?? { case: undefined };
  if (kind === 'docsBytes')
    throw new HandlerError('INVALID_REQUEST', 'Expected documents as data.docs, got data.docs_bytes.');
  return value?.docs ?? [];
}

function failed(error: HandlerError, request: DataRequestProto = create(DataRequestProtoSchema)): DataRequestProto {
  return withStatus(request, errorStatus(error));
}

/** The request with a status: Jina's answers are their requests. */
function withStatus(request: DataRequestProto, status: StatusProto): DataRequestProto {
  return { ...request, header: { ...(request.header ?? create(HeaderProtoSchema)), status } };
}

function errorStatus(error: HandlerError): StatusProto {
  const exception = { name: error.code, args: [error.message], executor: EXECUTOR };
  return create(StatusProtoSchema, { code: StatusCode.ERROR, description: errorText(error), exception });
}
