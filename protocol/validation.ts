import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { type ErrorCode, HandlerError } from './errors.ts';
import { suggestion } from './known-names.ts';
import type { InputField, InputFields, InputLists, InputsOf } from './schema.ts';

/** A JSON schema of a value. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** Messages repeat at most this many characters of a name that a client made up. */
const MAX_NAME_CHARACTERS = 40;

// The schemas are constants of this package. To check them against the schema of schemas took longer than to compile them.
const ajv = new Ajv({ verbose: true, allowUnionTypes: true, meta: false, validateSchema: false });

ajv.addKeyword({
  keyword: 'textOrBytes',
  schemaType: 'boolean',
  validate: (_: boolean, value: unknown) => typeof value === 'string' || value instanceof Uint8Array,
  error: { message: 'must be string' },
});

ajv.addKeyword({
  keyword: 'wellFormed',
  schemaType: 'boolean',
  validate: (_: boolean, value: unknown) => typeof value !== 'string' || !loneSurrogate.test(value),
  error: { message: 'must be text in Unicode' },
});

// As additionalProperties: false, but null is as absent here too.
ajv.addKeyword({
  keyword: 'knownNames',
  type: 'object',
  schemaType: 'boolean',
  validate: (_: boolean, value: object, parentSchema?: JsonSchema) => unknownName(value, parentSchema) === undefined,
  error: { message: 'must have known names only' },
});

function unknownName(value: object, parentSchema: JsonSchema | undefined): string | undefined {
  const known = Object.keys(parentSchema?.['properties'] ?? {});
  return Object.entries(value).find(([name, each]) => each !== null && !known.includes(name))?.[0];
}

/** Half of a character in UTF-16, which no text can be written with in UTF-8. */
const loneSurrogate = /\p{Surrogate}/u;

/** A text, or null, which clients of several platforms send for an absent text. */
export const nullableText = { type: ['string', 'null'] };

const jsonTypes = { STRING: 'string', INT64: 'integer', FP32: 'number', BOOL: 'boolean' } as const;

/** Returns its argument as `T`, or throws. */
export interface Check<T> {
  (value: unknown): T;
  /** Compiles the schema ahead of the first call. */
  readonly prepare: () => void;
}

/**
 * Compiles a JSON schema, at the first call, to a function that returns its argument as `T`.
 * @param subject names the whole value in messages.
 * @throws HandlerError with the given code, naming the path of the value.
 */
export function compile<T>(schema: object, code: ErrorCode, subject?: string): Check<T> {
  let compiled: ValidateFunction<T> | undefined;
  const prepare = () => {
    compiled ??= ajv.compile<T>(schema);
    return compiled;
  };
  const check = (value: unknown): T => {
    const validate = prepare();
    if (validate(value)) return value;
    throw new HandlerError(code, describeError(validate.errors?.[0], schema, subject));
  };
  return Object.assign(check, { prepare });
}

/**
 * Makes a function that checks the inputs of a handler against their fields.
 * @param elsewhere says of an unknown name who would know it: `which question-answering models take`.
 * @throws HandlerError `INVALID_INPUT`, naming the input, the expected value and the actual one.
 */
export function compileInputs<Fields extends InputFields>(
  fields: Fields,
  elsewhere?: (name: string) => string | undefined,
): Check<InputsOf<Fields>> {
  const check = compile<InputLists>(
    {
      type: 'object',
      properties: Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, fieldSchema(field)])),
      required: Object.keys(fields).filter((name) => fields[name]?.required),
    },
    'INVALID_INPUT',
  );
  const checkInputs = (inputs: unknown) => {
    const given = typeof inputs === 'object' && inputs !== null ? toLists(inputs) : inputs;
    const unknown = Object.keys(given ?? {}).find((name) => !Object.hasOwn(fields, name));
    if (unknown !== undefined) throw unknownInput(unknown, fields, elsewhere?.(unknown));
    const lists = check(given);
    const values = Object.entries(lists).map(([name, list]) => [name, fields[name]?.shape[0] === 1 ? list[0] : list]);
    return Object.fromEntries(values) as InputsOf<Fields>; // Ajv has just checked each list against its own field.
  };
  return Object.assign(checkInputs, { prepare: check.prepare });
}

/**
 * The error of an input that the model does not have.
 * @param elsewhere says who would know it.
 */
export function unknownInput(name: string, fields: InputFields, elsewhere?: string): HandlerError {
  const meant = suggestion(name, Object.keys(fields));
  const end = meant === '.' && elsewhere !== undefined ? `, ${elsewhere}.` : meant;
  return new HandlerError(
    'INVALID_INPUT',
    `Expected the request to have known names only, got ${describeValue(name)}${end}`,
  );
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
  if (field.acceptsBytes) return listSchema(field, { textOrBytes: true });
  const schema = valueSchema(field);
  return listSchema(
    field,
    field.datatype === 'STRING' && field.allowed === undefined ? { ...schema, wellFormed: true } : schema,
  );
}

/** Ajv's message with the path of the value, and the value. */
function describeError(error: ErrorObject | undefined, schema: object, subject?: string): string {
  if (error === undefined) return 'Expected a valid value, got something else.';
  const { keyword, params, data, parentSchema } = error;
  const path = pathOf(valuePath(error, schema), subject);
  switch (keyword) {
    case 'required':
      return `Expected ${path} to have ${params['missingProperty']}, got none.`;
    case 'knownNames': {
      const name = unknownName(Object(data), parentSchema) ?? '';
      const end = suggestion(name, Object.keys(parentSchema?.['properties'] ?? {}));
      return `Expected ${path} to have known names only, got ${describeValue(name)}${end}`;
    }
    case 'minItems':
      return `Expected ${path} to have at least ${params['limit']}, got ${describeValue(data)}.`;
    case 'enum': {
      const allowed = [...new Set(params['allowedValues'].map(String))];
      return `Expected ${path} to be one of ${allowed.join(', ')}, got ${describeValue(data)}.`;
    }
    case 'wellFormed':
      return `Expected ${path} to be text in Unicode, got one with half of a character (a lone surrogate).`;
    default:
      return `Expected ${path} to ${(error.message ?? '').replace(/^must /, '')}, got ${describeValue(data)}.`;
  }
}

/** The path of a value. Clients send a single value as it is, or in a list of one: it has no number. */
function valuePath({ instancePath }: ErrorObject, schema: object): string {
  const [, name = ''] = /^\/([^/]+)\/0$/.exec(instancePath) ?? [];
  const { properties = {} }: { readonly properties?: Readonly<Record<string, { readonly maxItems?: number }>> } =
    schema;
  return properties[name]?.maxItems === 1 ? `/${name}` : instancePath;
}

/** Spells a JSON pointer as clients write paths: `/inputs/0/shape` → `inputs[0].shape`. */
function pathOf(instancePath: string, subject = 'the request'): string {
  const path = instancePath
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? `[${clamp(part)}]` : `.${clamp(part)}`))
    .join('')
    .replace(/^\./, '');
  return path === '' ? subject : path;
}

function clamp(name: string): string {
  return name.length <= MAX_NAME_CHARACTERS ? name : `${name.slice(0, MAX_NAME_CHARACTERS)}…`;
}

/** Describes a value in a message: numbers and booleans in full, of anything that may hold content the length. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string')
    return value.length <= MAX_NAME_CHARACTERS ? JSON.stringify(value) : `a string of ${value.length} characters`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value instanceof Uint8Array) return `${value.length} bytes that are no text in UTF-8`;
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}
