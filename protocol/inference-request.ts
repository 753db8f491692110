import { decodeTensor } from './binary-tensor.ts';
import { HandlerError } from './errors.ts';
import { suggestion } from './known-names.ts';
import { namesWithoutEffect, schemaWithoutEffect } from './names-without-effect.ts';
import type { InputField, InputFields, InputLists, OutputFields, TaskSchema } from './schema.ts';
import { compile, describeValue, nullableText } from './validation.ts';

/**
 * Requests of the KServe v2 / Open Inference Protocol.
 * Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
 */

type Parameters = Readonly<Record<string, unknown>>;

/**
 * A tensor of a request as it arrives. `data` may be nested or flat. In its place, `binary_data_size` says how many of the
 * bytes after the JSON are its values. Here and below, null is as absent.
 */
interface RequestTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly datatype: string;
  readonly data?: readonly unknown[] | null;
  readonly parameters?: { readonly binary_data_size?: number | null } | null;
}

interface RequestedOutput {
  readonly name: string;
  readonly parameters?: { readonly binary_data?: boolean | null } | null;
}

interface RequestBody {
  readonly id?: string | null;
  readonly parameters?: Parameters | null;
  readonly inputs: readonly RequestTensor[];
  readonly outputs?: readonly RequestedOutput[] | null;
}

/** A request after reading: lists of values by input name, which are not checked against the handler's schema yet. */
export interface InferenceRequest {
  readonly id: string | undefined;
  readonly inputs: InputLists;
  /** Names of the requested outputs; `undefined` for the usual ones. */
  readonly outputs: readonly string[] | undefined;
  /** Whether an output is requested as bytes after the JSON. */
  readonly isBinaryOutput: (name: string) => boolean;
  /** The parameters of the request that are not inputs. */
  readonly parameters: Parameters;
}

/** The limit of Triton's JSON parser. No tensor is nested deeper. */
const MAX_DATA_DEPTH = 100;

/** numpy's former limit. No tensor has more dimensions. */
const MAX_DIMENSIONS = 32;

/** The most values of one input: more than any request needs, and few enough to be read without a pause. */
const MAX_VALUES = 65_536;

const datatypes = {
  BOOL: 'boolean',
  UINT8: 'integer',
  UINT16: 'integer',
  UINT32: 'integer',
  UINT64: 'integer',
  INT8: 'integer',
  INT16: 'integer',
  INT32: 'integer',
  INT64: 'integer',
  FP16: 'number',
  FP32: 'number',
  FP64: 'number',
  BF16: 'number',
  BYTES: 'string',
  STRING: 'string',
} as const;

type Datatype = keyof typeof datatypes;

/** The kinds of values that each datatype of the schema accepts. Widths of integers and floats do not matter. */
const acceptedKinds = {
  STRING: ['string'],
  INT64: ['integer'],
  FP32: ['number', 'integer'],
  BOOL: ['boolean'],
} as const;

/** Parameters of a request: inputs, those of the protocol, and the known ones without effect, which may be objects. */
export const parametersSchema = {
  type: ['object', 'null'],
  properties: schemaWithoutEffect('the parameters of a request'),
  additionalProperties: { type: ['string', 'number', 'boolean', 'null'] },
};

const tensorSchema = {
  type: 'object',
  required: ['name', 'shape', 'datatype'],
  properties: {
    name: { type: 'string' },
    shape: {
      type: 'array',
      maxItems: MAX_DIMENSIONS,
      items: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    },
    datatype: { type: 'string' },
    data: { type: ['array', 'null'] },
    parameters: {
      type: ['object', 'null'],
      properties: {
        binary_data_size: { type: ['integer', 'null'], minimum: 0 },
        ...schemaWithoutEffect('the parameters of a tensor'),
      },
      knownNames: true,
    },
    ...schemaWithoutEffect('a tensor'),
  },
  knownNames: true,
};

const outputSchema = {
  type: 'object',
  required: ['name'],
  properties: {
    name: { type: 'string' },
    parameters: {
      type: ['object', 'null'],
      properties: { binary_data: { type: ['boolean', 'null'] } },
      knownNames: true,
    },
    ...schemaWithoutEffect('a requested output'),
  },
  knownNames: true,
};

const checkBody = compile<RequestBody>(
  {
    type: 'object',
    required: ['inputs'],
    properties: {
      id: nullableText,
      parameters: parametersSchema,
      inputs: { type: 'array', minItems: 1, items: tensorSchema },
      outputs: { type: ['array', 'null'], items: outputSchema },
      ...schemaWithoutEffect('a request of the Open Inference Protocol'),
    },
    knownNames: true,
  },
  'INVALID_REQUEST',
);

/** Compiles the check of a body ahead of the first request. */
export const prepareInferenceRequests = checkBody.prepare;

/**
 * Reads the JSON of an inference request. Parameters of the request count as inputs, but for those of the protocol and
 * those without effect. Other names that nobody reads are refused, here or with the inputs.
 * @param binary the bytes after the JSON: the values of the tensors with `binary_data_size`, in their order.
 * @throws HandlerError `INVALID_REQUEST` or `INVALID_INPUT`.
 */
export function readInferenceRequest(
  body: unknown,
  schema: TaskSchema,
  binary: Uint8Array = new Uint8Array(),
): InferenceRequest {
  const request = checkBody(body);
  return readRequest(request, binarySections(request.inputs, binary), schema);
}

/**
 * Reads an inference request in which each tensor has bytes of its own, as over gRPC.
 * @param body the request in the form of the JSON; values in `data` may be bytes.
 * @param sections the bytes of each tensor in their order; `undefined` for those with `data`.
 */
export function readSectionedRequest(
  body: unknown,
  sections: readonly (Uint8Array | undefined)[],
  schema: TaskSchema,
): InferenceRequest {
  return readRequest(checkBody(body), sections, schema);
}

function readRequest(
  request: RequestBody,
  sections: readonly (Uint8Array | undefined)[],
  { inputs: inputFields, outputs: outputFields }: TaskSchema,
): InferenceRequest {
  const tensors = request.inputs
    .map((tensor, index) => [tensor.name, readTensor(tensor, inputFields, sections[index])] as const)
    .filter((entry): entry is [string, readonly unknown[]] => entry[1] !== undefined);
  requireDistinct(
    request.inputs.map(({ name }) => name),
    'input',
  );
  const { inputs: parameterInputs, others } = splitParameters(request.parameters ?? {});
  const outputs = request.outputs?.length ? request.outputs : undefined; // As in Triton, none are the usual ones.
  const binaryByName = new Map(outputs?.map(({ name, parameters }) => [name, parameters?.binary_data]));
  return {
    id: request.id ?? undefined,
    inputs: Object.fromEntries([...parameterInputs, ...tensors]),
    outputs: outputs === undefined ? undefined : readOutputNames(outputs, outputFields),
    isBinaryOutput: (name) => binaryByName.get(name) ?? others['binary_data_output'] === true,
    parameters: others,
  };
}

/** Parameters of the protocol that this service obeys. */
const protocolParameters: readonly string[] = ['timeout', 'binary_data_output'];

/** Splits parameters into inputs of one value, known or not, and those of the protocol. Null is as absent. */
export function splitParameters(parameters: Parameters): {
  readonly inputs: readonly (readonly [string, readonly unknown[]])[];
  readonly others: Parameters;
} {
  const present = Object.entries(parameters).filter(
    ([name, value]) => value !== null && !Object.hasOwn(namesWithoutEffect['the parameters of a request'], name),
  );
  const isProtocol = ([name]: readonly [string, unknown]) => protocolParameters.includes(name);
  return {
    inputs: present.filter((entry) => !isProtocol(entry)).map(([name, value]) => [name, [value]]),
    others: Object.fromEntries(present.filter(isProtocol)),
  };
}

/** The bytes of each tensor; `undefined` for those with `data`. */
function binarySections(tensors: readonly RequestTensor[], binary: Uint8Array): readonly (Uint8Array | undefined)[] {
  const total = tensors.reduce((sum, { parameters }) => sum + (parameters?.binary_data_size ?? 0), 0);
  if (total !== binary.length) {
    throw new HandlerError(
      'INVALID_REQUEST',
      `Expected ${total} bytes behind the JSON, as binary_data_size of the inputs says, got ${binary.length}.`,
    );
  }
  let end = 0;
  return tensors.map(({ parameters }) => {
    const size = parameters?.binary_data_size ?? undefined;
    if (size === undefined) return undefined;
    end += size;
    return binary.subarray(end - size, end);
  });
}

/** The values of a tensor; `undefined` for an optional input without any, because its data are null. */
function readTensor(
  tensor: RequestTensor,
  fields: InputFields,
  section: Uint8Array | undefined,
): readonly unknown[] | undefined {
  const { name, shape, datatype } = tensor;
  const data = tensor.data ?? undefined;
  const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (field === undefined) {
    const known = Object.keys(fields);
    throw new HandlerError(
      'INVALID_INPUT',
      `Expected inputs named ${known.join(', ')}, got ${describeValue(name)}${suggestion(name, known)}`,
    );
  }
  const kind = Object.hasOwn(datatypes, datatype) ? datatypes[datatype as Datatype] : undefined;
  if (kind === undefined || !acceptsKind(field, kind)) {
    throw new HandlerError(
      'INVALID_INPUT',
      `Expected input ${name} to have datatype ${wireDatatype(field)}, got ${describeValue(datatype)}.`,
    );
  }
  const isNull = tensor.data === null || (tensor.data?.length === 1 && tensor.data[0] === null);
  if (isNull && section === undefined && !field.required) return undefined;
  if ((data === undefined) === (section === undefined)) {
    const got = data === undefined ? 'neither' : 'both';
    throw new HandlerError(
      'INVALID_REQUEST',
      `Expected input ${name} to have data, or binary_data_size in its parameters, got ${got}.`,
    );
  }
  const count = countValues(tensor, field);
  const maxRead = count + 1; // One more than allowed shows that there are too many.
  const values =
    section === undefined ? flatten(data ?? [], name, maxRead) : decodeTensor(tensor, field, section, maxRead);
  if (values.length !== count) {
    const got = values.length > count ? 'more' : values.length;
    throw new HandlerError(
      'INVALID_INPUT',
      `Expected input ${name} of shape [${shape.join(', ')}] to have ${count} values, got ${got}.`,
    );
  }
  return values;
}

/**
 * The number of values that the shape of a tensor says.
 * @throws HandlerError `INVALID_INPUT` when the input cannot have so many. None of them was read then.
 */
function countValues({ name, shape }: RequestTensor, field: InputField): number {
  const count = shape.reduce((product, size) => product * size, 1);
  const maximum = field.shape[0] === 1 ? 1 : MAX_VALUES;
  if (count <= maximum) return count;
  throw new HandlerError(
    'INVALID_INPUT',
    `Expected input ${name} to have at most ${maximum} values, got shape [${shape.join(', ')}].`,
  );
}

function acceptsKind(field: InputField, kind: (typeof datatypes)[Datatype]): boolean {
  const kinds: readonly string[] = acceptedKinds[field.datatype];
  return kinds.includes(kind) || (field.allowed?.some((value) => typeof value === kind) ?? false);
}

/** The datatype that an input has on the wire. */
export function wireDatatype(field: InputField): string {
  return field.datatype === 'STRING' ? 'BYTES' : field.datatype;
}

/** The values in row-major order, with any nesting. At most `maxValues` are read. */
function flatten(data: readonly unknown[], name: string, maxValues: number): readonly unknown[] {
  const values: unknown[] = [];
  const visit = (items: readonly unknown[], depth: number): void => {
    if (depth > MAX_DATA_DEPTH)
      throw new HandlerError(
        'INVALID_INPUT',
        `Expected the data of input ${name} to be nested at most ${MAX_DATA_DEPTH} deep.`,
      );
    for (const item of items) {
      if (values.length === maxValues) return;
      if (Array.isArray(item)) visit(item, depth + 1);
      else values.push(item);
    }
  };
  visit(data, 1);
  return values;
}

function readOutputNames(outputs: readonly { readonly name: string }[], fields: OutputFields): readonly string[] {
  const names = outputs.map(({ name }) => name);
  const unknown = names.find((name) => !Object.hasOwn(fields, name));
  if (unknown !== undefined) {
    throw new HandlerError(
      'INVALID_REQUEST',
      `Expected outputs named ${Object.keys(fields).join(', ')}, got ${describeValue(unknown)}.`,
    );
  }
  requireDistinct(names, 'output');
  return names;
}

function requireDistinct(names: readonly string[], kind: 'input' | 'output'): void {
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  if (repeated !== undefined)
    throw new HandlerError(
      'INVALID_REQUEST',
      `Expected each ${kind} once, got ${describeValue(repeated)} more than once.`,
    );
}
