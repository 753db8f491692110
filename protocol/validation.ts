import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { type ErrorCode, HandlerError } from './errors.ts';
import type { InputField, InputFields, InputLists, InputsOf } from './schema.ts';

/** A JSON schema of a value. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** Messages repeat at most this many characters of a name that a client made up. */
const MAX_NAME_CHARACTERS = 40;

const ajv = new Ajv({ verbose: true, allowUnionTypes: true });

ajv.addKeyword({
  keyword: 'textOrBytes',
  schemaType: 'boolean',
  validate: (_: boolean, value: unknown) => typeof value === 'string' || value instanceof Uint8Array,
  error: { message: 'must be string' },
});

/** A text, or null, which clients of several platforms send for an absent text. */
export const nullableText = { type: ['string', 'null'] };

const jsonTypes = { STRING: 'string', INT64: 'integer', FP32: 'number', BOOL: 'boolean' } as const;

/**
 * Compiles a JSON schema, at the first call, to a function that returns its argument as `T`.
 * @throws HandlerError with the given code, naming the path of the value.
 */
export function compile<T>(schema: object, code: ErrorCode): (value: unknown) => T {
  let validate: ValidateFunction<T> | undefined;
  return (value) => {
    validate ??= ajv.compile<T>(schema);
    if (validate(value)) return value;
    throw new HandlerError(code, describeError(validate.errors?.[0]));
  };
}

/**
 * Makes a function that checks the inputs of a handler against their fields.
 * @throws HandlerError `INVALID_INPUT`, naming the input, the expected value and the actual one.
 */
export function compileInputs<Fields extends InputFields>(fields: Fields): (inputs: unknown) => InputsOf<Fields> {
  const check = compile<InputLists>(
    {
      type: 'object',
      properties: Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, fieldSchema(field)])),
      required: Object.keys(fields).filter((name) => fields[name]?.required),
      additionalProperties: false,
    },
    'INVALID_INPUT',
  );
  return (inputs) => {
    const lists = check(typeof inputs === 'object' && inputs !== null ? toLists(inputs) : inputs);
    const values = Object.entries(lists).map(([name, list]) => [name, fields[name]?.shape[0] === 1 ? list[0] : list]);
    return Object.fromEntries(values) as InputsOf<Fields>; // Ajv has just checked each list against its own field.
  };
}

/** Makes a list of each single value, and leaves out absent values. */
function toLists(inputs: object): InputLists {
  const present = Object.entries(inputs).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(present.map(([name, value]) => [name, Array.isArray(value) ? value : [value]]));
}

/** The JSON schema of one value of an input: requests are checked against it, and OpenAPI publishes it. */
export function valueSchema({ datatype, allowed, minimum, exclusiveMinimum, maximum }: InputField): JsonSchema {
  if (allowed !== undefined) return { enum: allowed };
  const bounds = Object.entries({ minimum, exclusiveMinimum, maximum }).filter(([, bound]) => bound !== undefined);
  return { type: jsonTypes[datatype], ...Object.fromEntries(bounds) };
}

/** The JSON schema of all values of an input. */
export function listSchema({ shape: [size] }: InputField, items: JsonSchema): JsonSchema {
  return { type: 'array', minItems: 1, ...(size === 1 ? { maxItems: 1 } : {}), items };
}

function fieldSchema(field: InputField): JsonSchema {
  return listSchema(field, field.acceptsBytes ? { textOrBytes: true } : valueSchema(field));
}

/** Ajv's message with the path of the value, and the value. */
function describeError(error: ErrorObject | undefined): string {
  if (error === undefined) return 'Expected a valid value, got something else.';
  const { keyword, params, data } = error;
  const path = pathOf(error.instancePath);
  if (keyword === 'required') return `Expected ${path} to have ${params['missingProperty']}, got none.`;
  if (keyword === 'additionalProperties')
    return `Expected ${path} to have known names only, got ${describeValue(params['additionalProperty'])}.`;
  const expected =
    keyword === 'enum' ? `one of ${[...new Set(params['allowedValues'].map(String))].join(', ')}` : undefined;
  return `Expected ${path} to ${expected === undefined ? (error.message ?? '').replace(/^must /, '') : `be ${expected}`}, got ${describeValue(data)}.`;
}

/** Spells a JSON pointer as clients write paths: `/inputs/0/shape` → `inputs[0].shape`. */
function pathOf(instancePath: string): string {
  const path = instancePath
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? `[${clamp(part)}]` : `.${clamp(part)}`))
    .join('')
    .replace(/^\./, '');
  return path === '' ? 'the request' : path;
}

function clamp(name: string): string {
  return name.length <= MAX_NAME_CHARACTERS ? name : `${name.slice(0, MAX_NAME_CHARACTERS)}…`;
}

/** Describes a value in a message: numbers and booleans in full, of anything that may hold content the length. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string')
    return value.length <= MAX_NAME_CHARACTERS ? JSON.stringify(value) : `a string of ${value.length} characters`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}
