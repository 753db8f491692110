import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../../../app.ts';
import { generateResponse, readGenerateRequest } from '../../../../protocol/generate.ts';
import { readInferenceRequest } from '../../../../protocol/inference-request.ts';
import { encodeResponse, inferenceResponse } from '../../../../protocol/inference-response.ts';
import { askModel } from '../../exchange/ask-model.ts';
import { sendEncoded, sendJson } from '../../exchange/reply.ts';
import { parseJson, splitBody } from '../../exchange/request-body.ts';
import { modelPaths, requireModel } from '../../exchange/requested-model.ts';
import { addRoutes } from '../../exchange/route.ts';
import type { RouteGuard } from '../../exchange/route-guards.ts';

/** The inference of the Open Inference Protocol, and Triton's `generate`, which takes inputs by their names. */
export function addInferenceRoutes(
  server: FastifyInstance,
  guard: RouteGuard,
  models: readonly InferlessModel[],
): void {
  const find = (request: FastifyRequest) => requireModel(request, models);
  const handlers = { '/infer': infer, '/generate': generate, '/generate_stream': generateStream };
  for (const [suffix, handler] of Object.entries(handlers))
    for (const path of modelPaths(suffix)) addRoutes(server, path, { POST: guard(find, handler) });
}

async function infer(request: FastifyRequest, reply: FastifyReply, model: InferlessModel): Promise<FastifyReply> {
  const { json, binary } = splitBody(request);
  const asked = readInferenceRequest(json, model.schema, binary);
  const { outputs } = await askModel(reply, model, asked);
  return sendEncoded(
    reply,
    encodeResponse(inferenceResponse(model.name ?? '', asked.id, outputs), asked.isBinaryOutput),
  );
}

async function generate(request: FastifyRequest, reply: FastifyReply, model: InferlessModel): Promise<FastifyReply> {
  return sendJson(reply, await generated(request, reply, model));
}

/** One event: a caption is generated in one run, so there is nothing to send before it is whole. */
async function generateStream(
  request: FastifyRequest,
  reply: FastifyReply,
  model: InferlessModel,
): Promise<FastifyReply> {
  const response = await generated(request, reply, model);
  return reply.header('content-type', 'text/event-stream; charset=utf-8').send(`data: ${JSON.stringify(response)}\n\n`);
}

async function generated(request: FastifyRequest, reply: FastifyReply, model: InferlessModel): Promise<object> {
  const asked = readGenerateRequest(parseJson(request.body), model.schema);
  const { outputs } = await askModel(reply, model, asked);
  return generateResponse(inferenceResponse(model.name ?? '', asked.id, outputs));
}
