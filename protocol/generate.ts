import { splitParameters } from './inference-request.ts';
import type { InferenceResponse } from './inference-response.ts';
import { valuesByName } from './named-tensor.ts';
import type { InputLists, TaskSchema } from './schema.ts';
import { compile } from './validation.ts';

/**
 * Triton's generate: inputs are keys of the request, outputs are keys of the answer.
 * Source: triton-inference-server/server, docs/protocol/extension_generate.md.
 */

type Value = string | number | boolean;

interface GenerateBody {
  readonly id?: string;
  readonly parameters?: Readonly<Record<string, Value>>;
  readonly [name: string]: unknown;
}

const value = { type: ['string', 'number', 'boolean'] };

const checkBody = compile<GenerateBody>(
  {
    type: 'object',
    properties: { id: { type: 'string' }, parameters: { type: 'object', additionalProperties: value } },
  },
  'INVALID_REQUEST',
);

/** A generate request after reading. Its inputs are not checked against the handler's schema yet. */
export interface GenerateRequest {
  readonly id: string | undefined;
  readonly inputs: InputLists;
  /** The parameters of the request that are not inputs. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

/**
 * Reads the JSON of a generate request. Keys that are inputs have values or lists of values. All other keys are parameters,
 * and win over those in `parameters`. A key with null counts as absent.
 * @throws HandlerError `INVALID_REQUEST`.
 */
export function readGenerateRequest(body: unknown, { inputs: fields }: TaskSchema): GenerateRequest {
  const { id, parameters = {}, ...keys } = checkBody(body);
  const present = Object.entries(keys).filter(([, content]) => content !== null);
  const isInput = ([name]: readonly [string, unknown]) => Object.hasOwn(fields, name);
  const lists = present
    .filter(isInput)
    .map(([name, content]) => [name, Array.isArray(content) ? content : [content]] as const);
  const otherKeys = present.filter((entry) => !isInput(entry));
  const { inputs, others } = splitParameters(parameters, fields);
  return {
    id,
    inputs: Object.fromEntries([...inputs, ...lists]),
    parameters: { ...others, ...Object.fromEntries(otherKeys) },
  };
}

/** The answer to a generate request, with outputs by their names. */
export function generateResponse({ outputs, ...rest }: InferenceResponse): object {
  return { ...rest, ...valuesByName(outputs) };
}
