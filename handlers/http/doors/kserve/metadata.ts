import type { FastifyReply, FastifyRequest } from 'fastify';
import type Handler from '../../../../app.ts';
import { modelMetadata } from '../../../../protocol/metadata.ts';
import { compile } from '../../../../protocol/validation.ts';
import { namesOf, repositoryIndex } from '../../../service/served-models.ts';
import { version } from '../../../service/version.ts';
import type { DoorContext } from '../../exchange/door.ts';
import { sendJson } from '../../exchange/reply.ts';
import { parseJson } from '../../exchange/request-body.ts';
import { requireModel } from '../../exchange/requested-model.ts';
import { modelPaths } from './model-paths.ts';

/** The name of the service while its first model has no name yet. */
const SERVICE_NAME = 'blip-handler';

/** Strangers may ask for the index, so its bodies must be small. */
const MAX_INDEX_BODY_BYTES = 1024;

/** Triton's names. Of `model_repository` only the index exists: models are loaded when the service starts. */
const extensions = ['binary_tensor_data', 'generate', 'model_repository', 'statistics'];

const checkIndexRequest = compile<{ readonly ready?: boolean }>(
  { type: 'object', properties: { ready: { type: 'boolean' } } },
  'INVALID_REQUEST',
);

/** Adds the routes that describe the service, and the inputs and outputs of its models. */
export function addMetadataRoutes({ routes, models }: DoorContext): void {
  // Inferless reads the model's name from here; the protocol asks for the server's.
  routes.add('/v2', 'GET', (_request, reply) =>
    sendJson(reply, { name: namesOf(models)[0] ?? SERVICE_NAME, version, extensions }),
  );
  routes.add('/v2/models', 'GET', (_request, reply) => sendJson(reply, { models: namesOf(models) }));
  routes.add('/v2/repository/index', 'POST', {
    bodyLimit: MAX_INDEX_BODY_BYTES,
    handler: (request, reply) => sendIndex(request, reply, models),
  });
  for (const path of modelPaths('')) {
    routes.add(path, 'GET', (request, reply) => {
      const model = requireModel(request, models);
      return sendJson(reply, modelMetadata(model.name ?? '', model.schema, model.model));
    });
  }
}

/** Answers with an index of all models, or with `ready` of those that would answer. Clients may send no body. */
function sendIndex({ body }: FastifyRequest, reply: FastifyReply, models: readonly Handler[]): FastifyReply {
  const isEmpty = !(body instanceof Uint8Array) || body.length === 0;
  const { ready = false } = isEmpty ? {} : checkIndexRequest(parseJson(body));
  const index = repositoryIndex(models);
  return sendJson(reply, ready ? index.filter(({ state }) => state === 'READY') : index);
}
