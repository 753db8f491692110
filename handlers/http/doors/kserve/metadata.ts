import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../../../app.ts';
import { modelMetadata } from '../../../../protocol/metadata.ts';
import { compile } from '../../../../protocol/validation.ts';
import { namesOf, repositoryIndex } from '../../../service/served-models.ts';
import { version } from '../../../service/version.ts';
import { sendJson } from '../../exchange/reply.ts';
import { parseJson } from '../../exchange/request-body.ts';
import { modelPaths, requireModel } from '../../exchange/requested-model.ts';
import { addRoute, addRoutes } from '../../exchange/route.ts';

/** What the service is called while its first model has no name yet. */
const SERVICE_NAME = 'blip-handler';

/** Strangers may ask for the index, so that their bodies are kept small. */
const MAX_INDEX_BODY_BYTES = 1024;

/** Names as Triton gives them. Of `model_repository` there is the index: models are loaded when the service starts. */
const extensions = ['binary_tensor_data', 'generate', 'model_repository', 'statistics'];

const checkIndexRequest = compile<{ readonly ready?: boolean }>(
  { type: 'object', properties: { ready: { type: 'boolean' } } },
  'INVALID_REQUEST',
);

/** What the service is, and what its models take and give. */
export function addMetadataRoutes(server: FastifyInstance, models: readonly InferlessModel[]): void {
  // Inferless reads the model's name from here; the protocol would have the server's.
  addRoute(server, 'GET', '/v2', (_request, reply) =>
    sendJson(reply, { name: namesOf(models)[0] ?? SERVICE_NAME, version, extensions }),
  );
  addRoute(server, 'GET', '/v2/models', (_request, reply) => sendJson(reply, { models: namesOf(models) }));
  addRoutes(server, '/v2/repository/index', {
    POST: { bodyLimit: MAX_INDEX_BODY_BYTES, handler: (request, reply) => sendIndex(request, reply, models) },
  });
  for (const path of modelPaths('')) {
    addRoute(server, 'GET', path, (request, reply) => {
      const model = requireModel(request, models);
      return sendJson(reply, modelMetadata(model.name ?? '', model.schema));
    });
  }
}

/** An index of all models, or with `ready` of those that would answer. Clients may send no body. */
function sendIndex({ body }: FastifyRequest, reply: FastifyReply, models: readonly InferlessModel[]): FastifyReply {
  const isEmpty = !(body instanceof Uint8Array) || body.length === 0;
  const { ready = false } = isEmpty ? {} : checkIndexRequest(parseJson(body));
  const index = repositoryIndex(models);
  return sendJson(reply, ready ? index.filter(({ state }) => state === 'READY') : index);
}
