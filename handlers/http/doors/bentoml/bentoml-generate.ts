import { isUtf8 } from 'node:buffer';
import type { FastifyReply } from 'fastify';
import { textElement } from '../../../../protocol/binary-tensor.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { suggestion } from '../../../../protocol/known-names.ts';
import type { InputFields } from '../../../../protocol/schema.ts';
import { compile, describeValue, nullableText } from '../../../../protocol/validation.ts';
import { countCharacter } from '../../../../protocol/value-count.ts';
import { contentTypeOf, mediaTypeOf } from '../../exchange/content-type.ts';
import type { DoorContext } from '../../exchange/door.ts';
import { askModel, type InferenceCall } from '../../exchange/inference-call.ts';
import { type Form, readMultipart } from '../../exchange/multipart.ts';
import { sendText } from '../../exchange/reply.ts';
import { parseJson, requireBody } from '../../exchange/request-body.ts';
import { requireModelOfTask } from '../../exchange/requested-model.ts';
import { valueOfText } from '../../exchange/text-value.ts';
import { unreadableJson } from '../../exchange/unreadable-json.ts';

/**
 * The route of bentoml/BentoBLIP, for its curl examples and BentoML's own clients: `POST /generate` takes a picture as
 * `img` and a text as `txt`, and answers with plain text. Other fields are inputs by their names.
 */

/** `img` is a URL, a data: URI or base64. */
interface GenerateBody {
  readonly img?: string | null;
  readonly txt?: string | null;
  readonly [input: string]: unknown;
}

const checkBody = compile<GenerateBody>(
  { type: 'object', properties: { img: nullableText, txt: nullableText } },
  'INVALID_REQUEST',
);

/** For each task, the input that the text is. */
const tasks = { captioning: 'text', 'image-text-to-text': 'text', 'question-answering': 'question' } as const;
const taskNames = Object.keys(tasks) as readonly (keyof typeof tasks)[]; // The keys of a constant.

/** Enough for an image, a text and every parameter. */
const MAX_FIELDS = 100;

/** Base64 needs four characters for three bytes, and a data: URI has a prefix. */
const CHARACTERS_PER_BYTE = 4 / 3;
const MAX_PREFIX_CHARACTERS = 1000;

/**
 * The route as BentoML's clients read it before they call it.
 * Source: bentoml/BentoML, src/_bentoml_impl/client/http.py.
 */
export const generateDescription = {
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

/** Adds `/generate`. A model that captions answers, or one for question answering if there is none. */
export function addGenerateRoute({ routes, guard, models }: DoorContext): void {
  const answer = guard(() => requireModelOfTask(models, taskNames), generate);
  routes.add('/generate', 'POST', answer);
}

async function generate(call: InferenceCall): Promise<FastifyReply> {
  const task = taskNames.find((name) => name === call.model.model?.checkpoint.task);
  const text = tasks[task ?? 'captioning']; // The model has one of the tasks.
  const { img: image, txt, ...others } = await readInputs(call);
  if ((image ?? others['img_url'] ?? undefined) === undefined) throw missingImage(others, call.model.schema.inputs);
  const inputs = { img_url: image, [text]: txt, ...others };
  const output = (inputs['question'] ?? undefined) === undefined ? 'generated_output' : 'answer';
  const { outputs, failures } = await askModel(call, { inputs, outputs: [output] });
  const [failure] = failures;
  if (failure !== undefined) throw failure; // Plain text has no other place for it.
  return sendText(call.reply, outputs.flatMap(({ data }) => data).join('\n'));
}

/** The inputs as clients name them, from a form or from JSON. Bytes are a file. */
async function readInputs({
  request,
  model: { schema, settings },
}: InferenceCall): Promise<Readonly<Record<string, unknown>>> {
  const body = requireBody(request.body, 'a form or a JSON body');
  switch (mediaTypeOf(request)) {
    case 'multipart/form-data': {
      const maxFieldBytes = Math.ceil(settings.imageMaxBytes * CHARACTERS_PER_BYTE) + MAX_PREFIX_CHARACTERS;
      return inputsOf(await readMultipart(body, contentTypeOf(request), maxFieldBytes), schema.inputs);
    }
    case 'application/x-www-form-urlencoded':
      // curl sends any data with this type. A form never begins with a brace, because it is written %7B there.
      return isJsonObject(body) ? checkBody(parseJson(body)) : inputsOf(readUrlEncoded(body), schema.inputs);
    default:
      return checkBody(parseJson(body));
  }
}

function isJsonObject(body: Uint8Array): boolean {
  return /^\s*\{/.test(headOf(body));
}

/** The beginning of a body, a character for each byte. */
function headOf(body: Uint8Array): string {
  return Buffer.from(body.buffer, body.byteOffset, Math.min(body.length, 100)).toString('latin1');
}

function readUrlEncoded(body: Uint8Array): Form {
  if (!isUtf8(body) && !/^[\w.[\]+%-]+=/.test(headOf(body)))
    throw new HandlerError('INVALID_REQUEST', `Expected a form or a JSON body, got ${unreadableJson(body)}`);
  if (countCharacter(body, '&', MAX_FIELDS) >= MAX_FIELDS)
    throw new HandlerError('INVALID_REQUEST', `Expected at most ${MAX_FIELDS} fields in the form, got more.`);
  const text = new TextDecoder().decode(withoutPluses(body));
  const pairs = [...new URLSearchParams(text)];
  // The decoder writes this character for bytes that are no text.
  if (pairs.some((pair) => pair.join().includes('\ufffd')) && !/%ef%bf%bd/i.test(text))
    throw new HandlerError('INVALID_REQUEST', 'Expected a form in UTF-8, got one with other bytes.');
  const fields = new Map(pairs);
  if (fields.size === pairs.length) return { fields, files: new Map() };
  throw new HandlerError('INVALID_REQUEST', 'Expected every field of the form once, got one several times.');
}

const PLUS = 0x2b;
const SPACE = 0x20;

/** A form writes spaces as pluses. The parser replaces them as a text, which takes gigabytes where there are millions. */
function withoutPluses(body: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(body);
  for (let index = 0; index < bytes.length; index += 1) if (bytes[index] === PLUS) bytes[index] = SPACE;
  return bytes;
}

function inputsOf({ fields, files }: Form, inputs: InputFields): Readonly<Record<string, unknown>> {
  const fieldOf = (name: string) => (Object.hasOwn(inputs, name) ? inputs[name] : undefined);
  const texts = [...fields].map(([name, text]) => {
    const own = withoutBrackets(name);
    return [own, valueOfText(text, fieldOf(own))] as const;
  });
  const contents = [...files].map(([name, bytes]) => {
    const own = withoutBrackets(name);
    const field = own === 'img' ? inputs['img_url'] : fieldOf(own);
    if (field?.acceptsBytes) return [own, bytes] as const;
    const text = textElement(bytes, {});
    return [own, typeof text === 'string' ? valueOfText(text, field) : text] as const;
  });
  const entries = [...texts, ...contents];
  if (new Set(entries.map(([name]) => name)).size === entries.length) return Object.fromEntries(entries);
  throw new HandlerError('INVALID_REQUEST', 'Expected every field of the form once, got one several times.');
}

/** PHP's and other clients write `img[]` for a list, here of one. */
function withoutBrackets(name: string): string {
  return name.endsWith('[]') ? name.slice(0, -2) : name;
}

/** The error of a request without an image, which may have one under another name. */
function missingImage(others: Readonly<Record<string, unknown>>, inputs: InputFields): HandlerError {
  const unknown = Object.keys(others).find((name) => !Object.hasOwn(inputs, name));
  const end = unknown === undefined ? '.' : `, and ${describeValue(unknown)}${suggestion(unknown, ['img', 'txt'])}`;
  return new HandlerError('INVALID_INPUT', `Expected img to be a file, a URL, a data: URI or base64, got none${end}`);
}
