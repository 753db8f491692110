import { splitParameters } from './inference-request.ts';
import type { InferenceResponse } from './inference-response.ts';
import { unwrap } from './named-tensor.ts';
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

export interface GenerateRequest {
  readonly id: string | undefined;
  readonly inputs: InputLists;
  readonly outputs: undefined;
  /** Those of the request that are not inputs. */
  readonly parameters: Readonly<Record<string, Value>>;
}

/**
 * Reads the JSON of a generate request. Keys that are no inputs are parameters, which are left alone.
 * @throws HandlerError `INVALID_REQUEST`.
 */
export function readGenerateRequest(body: unknown, { inputs: fields }: TaskSchema): GenerateRequest {
  const { id, parameters = {}, ...keys } = checkBody(body);
  const named = Object.entries(keys).filter(([name]) => Object.hasOwn(fields, name));
  const lists = named.map(([name, given]) => [name, Array.isArray(given) ? given : [given]] as const);
  const { inputs: given, others } = splitParameters(parameters, fields);
  return { id, inputs: Object.fromEntries([...given, ...lists]), outputs: undefined, parameters: others };
}

export function generateResponse({ outputs, ...rest }: InferenceResponse): object {
  return { ...rest, ...Object.fromEntries(outputs.map((tensor) => [tensor.name, unwrap(tensor)])) };
}
