import type { FastifyInstance } from 'fastify';
import type InferlessModel from '../../../app.ts';
import { modelMetadata } from '../../../protocol/metadata.ts';
import { namesOf, repositoryIndex } from '../../served-models.ts';
import { version } from '../../version.ts';
import { sendJson } from '../reply.ts';
import { addRoute } from '../route.ts';
import { modelPaths, requireModel } from '../served-models.ts';

/** Names as Triton gives them. */
const extensions = ['binary_tensor_data', 'generate', 'model_repository', 'statistics'];

/** What the service is, and what its models take and give. */
export function addMetadataRoutes(server: FastifyInstance, models: readonly InferlessModel[]): void {
  // Inferless reads the model's name from here; the protocol would have the server's.
  addRoute(server, 'GET', '/v2', (_request, reply) =>
    sendJson(reply, { name: namesOf(models)[0], version, extensions }),
  );
  addRoute(server, 'GET', '/v2/models', (_request, reply) => sendJson(reply, { models: namesOf(models) }));
  addRoute(server, 'POST', '/v2/repository/index', (_request, reply) => sendJson(reply, repositoryIndex(models)));
  for (const path of modelPaths('')) {
    addRoute(server, 'GET', path, (request, reply) => {
      const model = requireModel(request, models);
      return sendJson(reply, modelMetadata(model.name ?? '', model.schema));
    });
  }
}
