import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../../../app.ts';
import { errorCodes, HandlerError } from '../../../../protocol/errors.ts';
import type { InputFields } from '../../../../protocol/schema.ts';
import { compile, nullableText } from '../../../../protocol/validation.ts';
import { areReady } from '../../../service/readiness.ts';
import type { Draining } from '../../drain.ts';
import { askModel } from '../../exchange/ask-model.ts';
import { contentTypeOf, mediaTypeOf } from '../../exchange/content-type.ts';
import { type Form, readMultipart } from '../../exchange/multipart.ts';
import { sendJson, sendText } from '../../exchange/reply.ts';
import { parseJson, requireBody } from '../../exchange/request-body.ts';
import { requireModelOfTask } from '../../exchange/requested-model.ts';
import { addRoute, addRoutes } from '../../exchange/route.ts';
import type { RouteGuard } from '../../exchange/route-guards.ts';
import { valueOfText } from '../../exchange/text-value.ts';

/**
 * The routes of bentoml/BentoBLIP, for its curl examples and BentoML's own clients: `POST /generate` takes a picture as
 * `img` and a text as `txt`, and answers with plain text. What else it is given counts as inputs by their names.
 */

/** `img` is a URL, a data: URI or base64. */
interface Request {
  readonly img?: string | null;
  readonly txt?: string | null;
  readonly [input: string]: unknown;
}

const checkRequest = compile<Request>(
  { type: 'object', properties: { img: nullableText, txt: nullableText } },
  'INVALID_REQUEST',
);

/** What the text is to a model of each task, and what its answer is. */
const tasks = {
  captioning: { text: 'text', answer: 'generated_output' },
  'question-answering': { text: 'question', answer: 'answer' },
} as const;
const taskNames = Object.keys(tasks) as readonly (keyof typeof tasks)[]; // The keys of a constant.

/** Base64 has four characters for three bytes; and there is room for what stands before it in a data: URI. */
const CHARACTERS_PER_BYTE = 4 / 3;
const MAX_PREFIX_CHARACTERS = 1000;

/** Source: bentoml/BentoML, src/_bentoml_impl/client/http.py, which reads the routes before it calls one. */
const generateRoute = {
  name: 'generate',
  route: '/generate',
  batchable: false,
  input: {
    type: 'object',
    title: 'Input',
    properties: {
      img: { type: 'file', format: 'image', title: 'Img' },
      txt: { type: 'string', title: 'Txt', default: null },
    },
    required: ['img'],
  },
  output: { type: 'string', title: 'strIODescriptor' },
  is_task: false,
};

/** Adds `/generate`, which a captioning model answers, else one for question answering; and what clients look at before. */
export function addBentomlRoutes(
  server: FastifyInstance,
  guard: RouteGuard,
  models: readonly InferlessModel[],
  draining: Draining,
): void {
  addRoutes(server, '/generate', { POST: guard(() => requireModelOfTask(models, taskNames), generate) });
  addRoute(server, 'GET', '/schema.json', (_request, reply) =>
    sendJson(reply, { name: 'blip-handler', type: 'service', routes: [generateRoute] }),
  );
  for (const path of ['/livez', '/healthz']) addRoute(server, 'GET', path, (_request, reply) => sendText(reply, '\n'));
  addRoute(server, 'GET', '/readyz', (_request, reply) =>
    sendText(reply, '\n', areReady(models, draining) ? 200 : errorCodes.NOT_READY.http),
  );
}

async function generate(request: FastifyRequest, reply: FastifyReply, model: InferlessModel): Promise<FastifyReply> {
  const { text, answer } = tasks[model.model?.checkpoint.task === 'captioning' ? 'captioning' : 'question-answering'];
  const { img: image, txt, ...others } = await readRequest(request, model);
  if ((image ?? others['img_url']) === undefined)
    throw new HandlerError('INVALID_INPUT', 'Expected img to be a file, a URL, a data: URI or base64, got none.');
  const inputs = { img_url: image, [text]: txt, ...others };
  const { outputs, failures } = await askModel(reply, model, { inputs, outputs: [answer] });
  const [failure] = failures;
  if (failure !== undefined) throw failure; // Plain text has no other place for it.
  return sendText(reply, outputs.flatMap(({ data }) => data).join('\n'));
}

/** The inputs as a client names them, from a form or from JSON. Bytes are a file. */
async function readRequest(
  request: FastifyRequest,
  { schema, settings }: InferlessModel,
): Promise<Readonly<Record<string, unknown>>> {
  const body = requireBody(request.body, 'a form or a JSON body');
  switch (mediaTypeOf(request)) {
    case 'multipart/form-data': {
      const maxFieldBytes = Math.ceil(settings.imageMaxBytes * CHARACTERS_PER_BYTE) + MAX_PREFIX_CHARACTERS;
      return valuesOf(await readMultipart(body, contentTypeOf(request), maxFieldBytes), schema.inputs);
    }
    case 'application/x-www-form-urlencoded':
      // curl says so of any data; a form never begins with a brace, which it has as %7B.
      return isJsonObject(body) ? checkRequest(parseJson(body)) : valuesOf(readUrlEncoded(body), schema.inputs);
    default:
      return checkRequest(parseJson(body));
  }
}

function isJsonObject(body: Uint8Array): boolean {
  return /^\s*\{/.test(Buffer.from(body.buffer, body.byteOffset, Math.min(body.length, 100)).toString('latin1'));
}

function readUrlEncoded(body: Uint8Array): Form {
  const pairs = [...new URLSearchParams(new TextDecoder().decode(body))];
  const fields = new Map(pairs);
  if (fields.size === pairs.length) return { fields, files: new Map() };
  throw new HandlerError('INVALID_REQUEST', 'Expected every field of the form once, got one several times.');
}

function valuesOf({ fields, files }: Form, inputs: InputFields): Readonly<Record<string, unknown>> {
  const texts = [...fields].map(([name, text]) => {
    const field = Object.hasOwn(inputs, name) ? inputs[name] : undefined;
    return [name, valueOfText(text, field)] as const;
  });
  return Object.fromEntries([...texts, ...files]);
}
