import { HandlerError } from '../../../../protocol/errors.ts';
import type { NamedTensor } from '../../../../protocol/named-tensor.ts';
import { compile, nullableText } from '../../../../protocol/validation.ts';
import type { DoorContext } from '../../exchange/door.ts';
import { askModel, type InferenceCall } from '../../exchange/inference-call.ts';
import { sendJson } from '../../exchange/reply.ts';
import { parseJson } from '../../exchange/request-body.ts';
import { requireModelOfTask } from '../../exchange/requested-model.ts';

/**
 * The routes of bentoml/CLIP-API-service, for its clients: `POST /encode` and `POST /rank`. Items are images or texts,
 * and both sides of a ranking may be either. As in that service, one item that fails fails the request.
 */

/** One of three forms. The first that is not empty counts, in this order. `img_blob` is base64. */
interface Item {
  readonly img_uri?: string | null;
  readonly img_blob?: string | null;
  readonly text?: string | null;
}

interface RankBody {
  readonly queries: readonly Item[];
  readonly candidates: readonly Item[];
}

const items = {
  type: 'array',
  minItems: 1,
  items: {
    type: 'object',
    properties: { img_uri: nullableText, img_blob: nullableText, text: nullableText },
    knownNames: true,
  },
};
const checkEncode = compile<readonly Item[]>(items, 'INVALID_REQUEST');
const checkRank = compile<RankBody>(
  {
    type: 'object',
    required: ['queries', 'candidates'],
    properties: { queries: items, candidates: items },
    knownNames: true,
  },
  'INVALID_REQUEST',
);

/** Adds both paths. They answer 404 where no model is CLIP. */
export function addClipRoutes({ routes, guard, models }: DoorContext): void {
  for (const [path, answerOf] of [['/encode', encodeItems] as const, ['/rank', rankItems] as const]) {
    const answer = guard(
      () => requireModelOfTask(models, ['clip']),
      async (call) => sendJson(call.reply, await answerOf(call)),
    );
    routes.add(path, 'POST', answer);
  }
}

/** `POST /encode`: a list of items → a list of vectors in their order, as CLIP makes them, not of unit length. */
async function encodeItems(call: InferenceCall): Promise<readonly (readonly number[])[]> {
  const { inputs, numbers } = numberItems(checkEncode(parseJson(call.request.body)));
  const outputs = await askForAll(call, inputs, ['image_embeds', 'text_embeds']);
  const rows = outputs.flatMap(rowsOf);
  return numbers.map((number) => rows[number] ?? []);
}

/** `POST /rank`: for each query, probabilities and cosines of all candidates. */
async function rankItems(call: InferenceCall): Promise<object> {
  const { queries, candidates } = checkRank(parseJson(call.request.body));
  const { inputs, numbers } = numberItems([...queries, ...candidates]);
  const ranking = { queries: numbers.slice(0, queries.length), candidates: numbers.slice(queries.length) };
  const outputs = await askForAll(call, { ...inputs, ...ranking }, ['probability', 'cosine_similarity']);
  const [probabilities, similarities] = outputs.map(rowsOf);
  return { probabilities, cosine_similarities: similarities };
}

/** Asks the model. @throws HandlerError the error of the first item that failed. */
async function askForAll(
  call: InferenceCall,
  inputs: object,
  outputs: readonly string[],
): Promise<readonly NamedTensor[]> {
  const answer = await askModel(call, { inputs, outputs });
  const [failure] = answer.failures;
  if (failure !== undefined) throw failure;
  return answer.outputs;
}

/** Items as inputs of the CLIP task, and the number of each item there: images come first, then texts. */
function numberItems(mixedItems: readonly Item[]): { readonly inputs: object; readonly numbers: readonly number[] } {
  const sources = mixedItems.map(sourceOf);
  const images = sources.filter((source) => source !== undefined);
  const texts = mixedItems.filter((_, index) => sources[index] === undefined).map(textOf);
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
  const numbers = data as readonly number[]; // The tensor is FP32.
  return Array.from({ length: count }, (_, row) => numbers.slice(row * length, (row + 1) * length));
}
