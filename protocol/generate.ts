import { parametersSchema, splitParameters } from './inference-request.ts';
import type { InferenceResponse } from './inference-response.ts';
import { valuesByName } from './named-tensor.ts';
import type { InputLists } from './schema.ts';
import { compile, nullableText } from './validation.ts';

/**
 * Triton's generate: inputs are keys of the request, outputs are keys of the answer.
 * Source: triton-inference-server/server, docs/protocol/extension_generate.md.
 */

interface GenerateBody {
  readonly id?: string | null;
  readonly parameters?: Readonly<Record<string, unknown>> | null;
  readonly [name: string]: unknown;
}

const checkBody = compile<GenerateBody>(
  { type: 'object', properties: { id: nullableText, parameters: parametersSchema } },
  'INVALID_REQUEST',
);

/** A generate request after reading. Its inputs are not checked against the handler's schema yet. */
export interface GenerateRequest {
  readonly id: string | undefined;
  readonly inputs: InputLists;
  /** The parameters of the protocol. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

/**
 * Reads the JSON of a generate request. Keys are inputs with a value or a list of values, or parameters, and win over those
 * in `parameters`. Null is as absent. Names that nobody reads are left for the check of the inputs to refuse.
 * @throws HandlerError `INVALID_REQUEST`.
 */
export function readGenerateRequest(body: unknown): GenerateRequest {
  const { id, parameters, ...keys } = checkBody(body);
  const named = splitParameters(parameters ?? {});
  const direct = splitParameters(keys);
  const lists = direct.inputs.map(([name, [content]]) => [name, Array.isArray(content) ? content : [content]] as const);
  return {
    id: id ?? undefined,
    inputs: Object.fromEntries([...named.inputs, ...lists]),
    parameters: { ...named.others, ...direct.others },
  };
}

/** The answer to a generate request, with outputs by their names. */
export function generateResponse({ outputs, ...rest }: InferenceResponse): object {
  return { ...rest, ...valuesByName(outputs) };
}
