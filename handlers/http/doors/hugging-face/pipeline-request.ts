import type { FastifyRequest } from 'fastify';
import { HandlerError } from '../../../../protocol/errors.ts';
import { namesWithoutEffect, schemaWithoutEffect } from '../../../../protocol/names-without-effect.ts';
import type { InputFields } from '../../../../protocol/schema.ts';
import { compile, nullableText } from '../../../../protocol/validation.ts';
import { mediaTypeOf } from '../../exchange/content-type.ts';
import { parseJson, requireBody } from '../../exchange/request-body.ts';
import { valueOfText } from '../../exchange/text-value.ts';

/** A request of Hugging Face's pipelines: an image, a text or labels, and parameters. */
export interface PipelineRequest {
  readonly image: string | Uint8Array | undefined;
  readonly question: string | undefined;
  /** A prompt, or a question to a model that answers some. */
  readonly text: string | undefined;
  readonly labels: readonly string[] | undefined;
  /** The sentence around a label, with `{}` in the label's place. */
  readonly template: string | undefined;
  /** All other parameters: inputs of the model, or names that it refuses. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

type Values = Readonly<Record<string, unknown>>;

/** Values that the body, its `inputs` and its `parameters` may all have. */
interface PipelineValues {
  readonly image?: string | null;
  readonly question?: string | null;
  readonly text?: string | null;
  readonly candidate_labels?: string | readonly string[] | null;
  readonly hypothesis_template?: string | null;
}

interface Body extends PipelineValues {
  readonly inputs?: string | PipelineValues | null;
  readonly parameters?: Values | null;
}

const pipelineValues = {
  image: nullableText,
  question: nullableText,
  text: nullableText,
  candidate_labels: { type: ['string', 'array', 'null'], items: { type: 'string' } },
  hypothesis_template: nullableText,
};
const groups = ['generate_kwargs', 'generation_parameters'] as const;

const checkBody = compile<Body>(
  {
    type: 'object',
    properties: {
      ...pipelineValues,
      inputs: { type: ['string', 'object', 'null'], properties: pipelineValues, knownNames: true },
      parameters: {
        type: ['object', 'null'],
        properties: Object.fromEntries(groups.map((group) => [group, { type: ['object', 'null'] }])),
      },
      ...schemaWithoutEffect("a request of Hugging Face's clients"),
    },
    knownNames: true,
  },
  'INVALID_REQUEST',
);
const checkPipelineValues = compile<PipelineValues>({ type: 'object', properties: pipelineValues }, 'INVALID_REQUEST');

/**
 * Reads a request to a pipeline: the bytes of an image, or JSON with `inputs` and `parameters`. The query counts as
 * parameters too; those of the body win.
 * @param fields of the inputs of all models, which tell numbers of a query from texts.
 * @throws HandlerError `INVALID_REQUEST`; `INVALID_INPUT` for values that exclude each other.
 */
export function readPipelineRequest(request: FastifyRequest, fields: InputFields): PipelineRequest {
  const body = requireBody(request.body, 'an image or a JSON body');
  const query = queryValues(request, fields);
  if (mediaTypeOf(request) === 'multipart/form-data')
    throw new HandlerError(
      'INVALID_REQUEST',
      'Expected the bytes of an image, or JSON, got a form. POST /generate takes forms.',
    );
  if (isImage(request, body)) return pipelineRequest({}, body, query);
  const { inputs, parameters, ...outer } = checkBody(parseJson(body));
  const inner = typeof inputs === 'string' ? { image: inputs } : (inputs ?? {});
  const values = { ...present(pick(outer, isPipelineValue)), ...present(inner) };
  return pipelineRequest(values, undefined, foldGroups({ ...query, ...parameters }));
}

function pipelineRequest(values: PipelineValues, file: Uint8Array | undefined, parameters: Values): PipelineRequest {
  const {
    image,
    question,
    text,
    candidate_labels: labels,
    hypothesis_template: template,
  } = { ...present(checkPipelineValues(pick(parameters, isPipelineValue))), ...values };
  requireOne({ question, text, candidate_labels: labels });
  if (template && labels === undefined)
    throw new HandlerError('INVALID_INPUT', 'Expected candidate_labels beside hypothesis_template, got none.');
  return {
    image: file ?? image ?? undefined,
    question: question ?? undefined,
    text: text ?? undefined,
    labels: typeof labels === 'string' ? splitLabels(labels) : (labels ?? undefined),
    template: template ?? undefined,
    parameters: pick(parameters, (name) => !isPipelineValue(name) && !Object.hasOwn(parametersWithoutEffect, name)),
  };
}

const parametersWithoutEffect = namesWithoutEffect["the parameters of Hugging Face's pipelines"];

function isPipelineValue(name: string): boolean {
  return Object.hasOwn(pipelineValues, name);
}

/** The values without null, which is as absent. */
function present(values: PipelineValues): PipelineValues {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
}

/** Each of them asks for something else, so that one of two would be dropped. */
function requireOne(values: Values): void {
  const [first, second] = Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (second !== undefined) throw new HandlerError('INVALID_INPUT', `Expected ${first} or ${second}, got both.`);
}

function splitLabels(text: string): readonly string[] {
  return text
    .split(',')
    .map((label) => label.trim())
    .filter((label) => label !== '');
}

/** Whether a body is an image. No image format begins with a brace, so that JSON is recognised under any content type. */
function isImage(request: FastifyRequest, body: Uint8Array): boolean {
  const mediaType = mediaTypeOf(request);
  if (mediaType.startsWith('image/')) return true;
  return mediaType !== 'application/json' && !/^\s*\{/.test(Buffer.from(body.subarray(0, 100)).toString('latin1'));
}

/** Lifts the parameters of generation, which may be in groups of their own. */
function foldGroups(parameters: Values): Values {
  const folded = groups.map((group) => (parameters[group] ?? {}) as Values); // The schema let only objects through.
  const others = pick(parameters, (name) => !groups.some((group) => group === name));
  return Object.assign({}, others, ...folded);
}

function queryValues({ query }: FastifyRequest, fields: InputFields): Values {
  const pairs = Object.entries(query as Readonly<Record<string, string | readonly string[]>>); // Fastify's own parser.
  return Object.fromEntries(
    pairs.map(([name, value]) => {
      const text = typeof value === 'string' ? value : (value.at(-1) ?? '');
      return [name, valueOfText(text, Object.hasOwn(fields, name) ? fields[name] : undefined)];
    }),
  );
}

function pick(values: Values, isWanted: (name: string) => boolean): Values {
  return Object.fromEntries(Object.entries(values).filter(([name, value]) => isWanted(name) && value !== undefined));
}
