import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { type ErrorCode, HandlerError } from './errors.ts';
import type { InputField, InputFields, InputLists } from './schema.ts';

/** What a value must be, in the words of JSON Schema. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** Names that a client made up are cut after as many characters in messages. */
const MAX_NAME_CHARACTERS = 40;

const ajv = new Ajv({ verbose: true, allowUnionTypes: true });

ajv.addKeyword({
  keyword: 'textOrBytes',
  schemaType: 'boolean',
  validate: (_: boolean, value: unknown) => typeof value === 'string' || value instanceof Uint8Array,
  error: { message: 'must be string' },
});

/** A text, or null in place of none, as clients of several peers send it. */
export const nullableText = { type: ['string', 'null'] };

const jsonTypes = { STRING: 'string', INT64: 'integer', FP32: 'number', BOOL: 'boolean' } as const;

/** Compiles a JSON schema to a function that returns its argument as `T`, or throws a HandlerError that names the place. */
export function compile<T>(schema: object, code: ErrorCode): (value: unknown) => T {
  let validate: ValidateFunction<T> | undefined;
  return (value) => {
    validate ??= ajv.compile<T>(schema);
    if (validate(value)) return value;
    throw new HandlerError(code, describeError(validate.errors?.[0]));
  };
}

/**
 * A function that checks the inputs of a handler against its schema.
 * @throws HandlerError `INVALID_INPUT`, naming the input, what was expected and what came.
 */
export function compileInputs(fields: InputFields): (inputs: unknown) => InputLists {
  const check = compile<InputLists>(
    {
      type: 'object',
      properties: Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, fieldSchema(field)])),
      required: Object.keys(fields).filter((name) => fields[name]?.required),
      additionalProperties: false,
    },
    'INVALID_INPUT',
  );
  return (inputs) => check(typeof inputs === 'object' && inputs !== null ? toLists(inputs) : inputs);
}

/** One value stands for a list of one; absent values are left out. */
function toLists(inputs: object): InputLists {
  const present = Object.entries(inputs).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(present.map(([name, value]) => [name, Array.isArray(value) ? value : [value]]));
}

/** What one value of an input may be, in JSON Schema: requests are held against it, and OpenAPI says it. */
export function valueSchema({ datatype, allowed, minimum, exclusiveMinimum, maximum }: InputField): JsonSchema {
  if (allowed !== undefined) return { enum: allowed };
  const bounds = Object.entries({ minimum, exclusiveMinimum, maximum }).filter(([, bound]) => bound !== undefined);
  return { type: jsonTypes[datatype], ...Object.fromEntries(bounds) };
}

/** The same of all its values. */
export function listSchema({ shape: [size] }: InputField, items: JsonSchema): JsonSchema {
  return { type: 'array', minItems: 1, ...(size === 1 ? { maxItems: 1 } : {}), items };
}

function fieldSchema(field: InputField): JsonSchema {
  return listSchema(field, field.acceptsBytes ? { textOrBytes: true } : valueSchema(field));
}

/** Ajv says what a value must be; this says where, and what came. */
function describeError(error: ErrorObject | undefined): string {
  if (error === undefined) return 'Expected a valid value, got something else.';
  const { keyword, params, data } = error;
  const place = placeOf(error.instancePath);
  if (keyword === 'required') return `Expected ${place} to have ${params['missingProperty']}, got none.`;
  if (keyword === 'additionalProperties')
    return `Expected ${place} to have known names only, got ${describeValue(params['additionalProperty'])}.`;
  const expected =
    keyword === 'enum' ? `one of ${[...new Set(params['allowedValues'].map(String))].join(', ')}` : undefined;
  return `Expected ${place} to ${expected === undefined ? (error.message ?? '').replace(/^must /, '') : `be ${expected}`}, got ${describeValue(data)}.`;
}

/** `/inputs/0/shape` → `inputs[0].shape`; `/max_new_tokens/0` → `max_new_tokens[0]`. */
function placeOf(instancePath: string): string {
  const place = instancePath
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? `[${clamp(part)}]` : `.${clamp(part)}`))
    .join('')
    .replace(/^\./, '');
  return place === '' ? 'the request' : place;
}

function clamp(name: string): string {
  return name.length <= MAX_NAME_CHARACTERS ? name : `${name.slice(0, MAX_NAME_CHARACTERS)}…`;
}

/** A value for a message: numbers and booleans as they are; the length of anything that may hold content. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string')
    return value.length <= MAX_NAME_CHARACTERS ? JSON.stringify(value) : `a string of ${value.length} characters`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}
