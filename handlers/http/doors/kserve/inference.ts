import type { FastifyReply, FastifyRequest } from 'fastify';
import { generateResponse, readGenerateRequest } from '../../../../protocol/generate.ts';
import { readInferenceRequest } from '../../../../protocol/inference-request.ts';
import { encodeResponse, inferenceResponse } from '../../../../protocol/inference-response.ts';
import type { DoorContext } from '../../exchange/door.ts';
import { askModel, type InferenceCall } from '../../exchange/inference-call.ts';
import { sendEncoded, sendJson } from '../../exchange/reply.ts';
import { parseJson, splitBody } from '../../exchange/request-body.ts';
import { requireModel } from '../../exchange/requested-model.ts';
import { modelPaths } from './model-paths.ts';

/** Adds the protocol's `infer`, and Triton's `generate` and `generate_stream`, which take inputs by their names. */
export function addInferenceRoutes({ routes, guard, models }: DoorContext): void {
  const find = (request: FastifyRequest) => requireModel(request, models);
  const handlers = { '/infer': infer, '/generate': generate, '/generate_stream': generateStream };
  for (const [suffix, handler] of Object.entries(handlers))
    for (const path of modelPaths(suffix)) routes.add(path, 'POST', guard(find, handler));
}

async function infer(call: InferenceCall): Promise<FastifyReply> {
  const { request, reply, model } = call;
  const { json, binary } = splitBody(request);
  const question = readInferenceRequest(json, model.schema, binary);
  const response = inferenceResponse(model.name ?? '', question.id, await askModel(call, question));
  return sendEncoded(reply, encodeResponse(response, question.isBinaryOutput));
}

async function generate(call: InferenceCall): Promise<FastifyReply> {
  return sendJson(call.reply, await generateAnswer(call));
}

/** Sends a single event: a caption is generated in one run, so that no part of it is ready earlier. */
async function generateStream(call: InferenceCall): Promise<FastifyReply> {
  const event = `data: ${JSON.stringify(await generateAnswer(call))}\n\n`;
  return call.reply.header('content-type', 'text/event-stream; charset=utf-8').send(event);
}

async function generateAnswer(call: InferenceCall): Promise<object> {
  const { request, model } = call;
  const question = readGenerateRequest(parseJson(request.body));
  return generateResponse(inferenceResponse(model.name ?? '', question.id, await askModel(call, question)));
}
