import type { FastifyRequest } from 'fastify';
import { pickInputs } from '../../../../protocol/inference-request.ts';
import type { InputFields } from '../../../../protocol/schema.ts';
import { compile, nullableText } from '../../../../protocol/validation.ts';
import { mediaTypeOf } from '../../exchange/content-type.ts';
import { parseJson, requireBody } from '../../exchange/request-body.ts';
import { valueOfText } from '../../exchange/text-value.ts';

/** A request as Hugging Face's pipelines take it: an image, what is asked about it, and parameters. */
export interface PipelineRequest {
  readonly image: string | Uint8Array | undefined;
  /** A prompt or a question. */
  readonly text: string | undefined;
  readonly labels: readonly string[] | undefined;
  /** What a label stands in; `{}` is its place. */
  readonly template: string | undefined;
  /** Those that are inputs of the model. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

type Values = Readonly<Record<string, unknown>>;

interface Named {
  readonly image?: string | null;
  readonly question?: string | null;
  readonly text?: string | null;
  readonly candidate_labels?: string | readonly string[] | null;
  readonly hypothesis_template?: string | null;
}

interface Body extends Named {
  readonly inputs?: string | Named;
  readonly parameters?: Values | null;
}

const named = {
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
      ...named,
      inputs: { type: ['string', 'object'], properties: named },
      parameters: {
        type: ['object', 'null'],
        properties: Object.fromEntries(groups.map((group) => [group, { type: ['object', 'null'] }])),
      },
    },
  },
  'INVALID_REQUEST',
);
const checkNamed = compile<Named>({ type: 'object', properties: named }, 'INVALID_REQUEST');

/**
 * Reads a request to a pipeline: the bytes of an image, or JSON with `inputs` and `parameters`. Parameters that the
 * model has not are left alone. Query parameters count where the body has none.
 * @throws HandlerError `INVALID_REQUEST`.
 */
export function readPipelineRequest(request: FastifyRequest, fields: InputFields): PipelineRequest {
  const body = requireBody(request.body, 'an image or a JSON body');
  const query = queryValues(request, fields);
  if (isImage(request, body)) return pipelineRequest({}, body, query, fields);
  const { inputs, parameters, ...outer } = checkBody(parseJson(body));
  const inner = typeof inputs === 'string' ? { image: inputs } : (inputs ?? {});
  return pipelineRequest({ ...outer, ...inner }, undefined, foldGroups(parameters ?? query), fields);
}

function pipelineRequest(
  given: Named,
  file: Uint8Array | undefined,
  parameters: Values,
  fields: InputFields,
): PipelineRequest {
  const {
    image,
    question,
    text,
    candidate_labels: labels,
    hypothesis_template: template,
  } = {
    ...checkNamed(pick(parameters, (name) => Object.hasOwn(named, name))),
    ...given,
  };
  return {
    image: file ?? image ?? undefined,
    text: question ?? text ?? undefined,
    labels: typeof labels === 'string' ? splitLabels(labels) : (labels ?? undefined),
    template: template ?? undefined,
    parameters: pickInputs(
      pick(parameters, (name) => !Object.hasOwn(named, name)),
      fields,
    ),
  };
}

function splitLabels(text: string): readonly string[] {
  return text
    .split(',')
    .map((label) => label.trim())
    .filter((label) => label !== '');
}

/** Formats that are decoded begin with no brace, so JSON is known by it whatever the content type says. */
function isImage(request: FastifyRequest, body: Uint8Array): boolean {
  const mediaType = mediaTypeOf(request);
  if (mediaType.startsWith('image/')) return true;
  return mediaType !== 'application/json' && !/^\s*\{/.test(Buffer.from(body.subarray(0, 100)).toString('latin1'));
}

/** Parameters of generation may stand in a group of their own. */
function foldGroups(parameters: Values): Values {
  const folded = groups.map((group) => (parameters[group] ?? {}) as Values); // The schema let only objects through.
  return Object.assign({}, parameters, ...folded);
}

function queryValues({ query }: FastifyRequest, fields: InputFields): Values {
  const pairs = Object.entries(query as Readonly<Record<string, string | readonly string[]>>); // Fastify's own parser.
  return Object.fromEntries(
    pairs.map(([name, given]) => {
      const text = typeof given === 'string' ? given : (given.at(-1) ?? '');
      return [name, valueOfText(text, Object.hasOwn(fields, name) ? fields[name] : undefined)];
    }),
  );
}

function pick(values: Values, isWanted: (name: string) => boolean): Values {
  return Object.fromEntries(Object.entries(values).filter(([name, value]) => isWanted(name) && value !== undefined));
}
