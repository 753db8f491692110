import type { FastifyInstance, FastifyReply } from 'fastify';
import type InferlessModel from '../../../../app.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import type { NamedTensor } from '../../../../protocol/named-tensor.ts';
import { compile, nullableText } from '../../../../protocol/validation.ts';
import { askModel } from '../../exchange/ask-model.ts';
import { sendJson } from '../../exchange/reply.ts';
import { parseJson } from '../../exchange/request-body.ts';
import { requireModelOfTask } from '../../exchange/requested-model.ts';
import { addRoutes } from '../../exchange/route.ts';
import type { InferenceHandler, RouteGuard } from '../../exchange/route-guards.ts';

/**
 * The routes of bentoml/CLIP-API-service, for its clients: `POST /encode` and `POST /rank`. Items are images or texts,
 * and both sides of a ranking may be either. Where one item fails, the whole request does, as there.
 */

/** One of the three; of several the first in this order counts, empty ones do not. `img_blob` is base64. */
interface Item {
  readonly img_uri?: string | null;
  readonly img_blob?: string | null;
  readonly text?: string | null;
}

interface RankRequest {
  readonly queries: readonly Item[];
  readonly candidates: readonly Item[];
}

const items = {
  type: 'array',
  minItems: 1,
  items: { type: 'object', properties: { img_uri: nullableText, img_blob: nullableText, text: nullableText } },
};
const checkEncode = compile<readonly Item[]>(items, 'INVALID_REQUEST');
const checkRank = compile<RankRequest>(
  { type: 'object', required: ['queries', 'candidates'], properties: { queries: items, candidates: items } },
  'INVALID_REQUEST',
);

/** Adds both paths; they answer with 404 where no model is CLIP. */
export function addClipServiceRoutes(
  server: FastifyInstance,
  guard: RouteGuard,
  models: readonly InferlessModel[],
): void {
  for (const [path, answer] of [['/encode', encodeItems] as const, ['/rank', rankItems] as const]) {
    const handler: InferenceHandler = async (request, reply, model) =>
      sendJson(reply, await answer(parseJson(request.body), reply, model));
    addRoutes(server, path, { POST: guard(() => requireModelOfTask(models, ['clip']), handler) });
  }
}

/** `POST /encode`: a list of items → a list of vectors in their order, as CLIP gives them, not of unit length. */
async function encodeItems(
  body: unknown,
  reply: FastifyReply,
  model: InferlessModel,
): Promise<readonly (readonly number[])[]> {
  const { inputs, numbers } = orderOf(checkEncode(body));
  const answer = await askModel(reply, model, { inputs, outputs: ['image_embeds', 'text_embeds'] });
  const [failure] = answer.failures;
  if (failure !== undefined) throw failure;
  const rows = answer.outputs.flatMap(rowsOf);
  return numbers.map((number) => rows[number] ?? []);
}

/** `POST /rank`: for each query, probabilities and cosines of all candidates. */
async function rankItems(body: unknown, reply: FastifyReply, model: InferlessModel): Promise<object> {
  const { queries, candidates } = checkRank(body);
  const { inputs, numbers } = orderOf([...queries, ...candidates]);
  const ranking = { queries: numbers.slice(0, queries.length), candidates: numbers.slice(queries.length) };
  const answer = await askModel(reply, model, {
    inputs: { ...inputs, ...ranking },
    outputs: ['probability', 'cosine_similarity'],
  });
  const [failure] = answer.failures;
  if (failure !== undefined) throw failure;
  const [probabilities, similarities] = answer.outputs.map(rowsOf);
  return { probabilities, cosine_similarities: similarities };
}

/** Items as the inputs of the CLIP task, and the number that each has there: images first, then texts. */
function orderOf(given: readonly Item[]): { readonly inputs: object; readonly numbers: readonly number[] } {
  const sources = given.map(sourceOf);
  const images = sources.filter((source) => source !== undefined);
  const texts = given.filter((_, index) => sources[index] === undefined).map(textOf);
  let nextImage = 0;
  let nextText = images.length;
  const numbers = sources.map((source) => (source === undefined ? nextText++ : nextImage++));
  return {
    inputs: {
      ...(images.length === 0 ? {} : { img_url: images }),
      ...(texts.length === 0 ? {} : { text: texts }),
    },
    numbers,
  };
}

function sourceOf({ img_uri: uri, img_blob: blob }: Item): string | undefined {
  if (uri) return uri;
  return blob ? `data:;base64,${blob}` : undefined;
}

function textOf({ text }: Item): string {
  if (typeof text === 'string') return text;
  throw new HandlerError('INVALID_REQUEST', 'Expected img_uri, text or img_blob in every item, got none of them.');
}

function rowsOf({ shape, data }: NamedTensor): readonly (readonly number[])[] {
  const [count = 0, length = 0] = shape;
  return Array.from({ length: count }, (_, row) => data.slice(row * length, (row + 1) * length) as readonly number[]); // FP32.
}
