import { textElement } from '../../protocol/binary-tensor.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { type InferenceRequest, readSectionedRequest } from '../../protocol/inference-request.ts';
import type { InputFields, TaskSchema } from '../../protocol/schema.ts';
import { shortName } from '../service/short-name.ts';
import type {
  InferParameter,
  InferTensorContents,
  ModelInferRequest,
  ModelInferRequest_InferInputTensor,
} from './generated/open_inference_pb.js';

/**
 * Requests of the protocol's gRPC in the form of its JSON, which has one reader.
 * Source: kserve/open-inference-protocol, specification/protocol/inference_grpc.md.
 */

type ContentsField = Exclude<keyof InferTensorContents, '$typeName' | '$unknown'>;

/** The field that holds the typed values of a datatype: its name in the protocol and in the message's type. */
const contentsFields: readonly {
  readonly name: string;
  readonly field: ContentsField;
  readonly datatypes: readonly string[];
}[] = [
  { name: 'bool_contents', field: 'boolContents', datatypes: ['BOOL'] },
  { name: 'int_contents', field: 'intContents', datatypes: ['INT8', 'INT16', 'INT32'] },
  { name: 'int64_contents', field: 'int64Contents', datatypes: ['INT64'] },
  { name: 'uint_contents', field: 'uintContents', datatypes: ['UINT8', 'UINT16', 'UINT32'] },
  { name: 'uint64_contents', field: 'uint64Contents', datatypes: ['UINT64'] },
  { name: 'fp32_contents', field: 'fp32Contents', datatypes: ['FP32'] },
  { name: 'fp64_contents', field: 'fp64Contents', datatypes: ['FP64'] },
  { name: 'bytes_contents', field: 'bytesContents', datatypes: ['BYTES', 'STRING'] },
];

/**
 * Reads an inference request. Either its values are typed, or all of them are raw bytes.
 * @throws HandlerError `INVALID_REQUEST` or `INVALID_INPUT`.
 */
export function readInferRequest(request: ModelInferRequest, schema: TaskSchema): InferenceRequest {
  const { id, inputs, outputs, parameters, rawInputContents: raw } = request;
  const isRaw = raw.length > 0;
  if (isRaw) requireRawOnly(request);
  const body = {
    ...(id === '' ? {} : { id }),
    parameters: parameterValues(parameters),
    inputs: inputs.map((input) => ({
      name: input.name,
      datatype: input.datatype,
      shape: input.shape.map(Number),
      parameters: parameterValues(input.parameters),
      ...(isRaw ? {} : { data: typedValues(input, schema.inputs) }),
    })),
    ...(outputs.length === 0
      ? {}
      : { outputs: outputs.map((output) => ({ name: output.name, parameters: parameterValues(output.parameters) })) }),
  };
  return readSectionedRequest(
    body,
    inputs.map((_, index) => (isRaw ? raw[index] : undefined)),
    schema,
  );
}

function requireRawOnly({ inputs, rawInputContents }: ModelInferRequest): void {
  if (rawInputContents.length !== inputs.length) {
    throw new HandlerError(
      'INVALID_REQUEST',
      `Expected raw_input_contents for each of ${inputs.length} inputs, got ${rawInputContents.length}.`,
    );
  }
  const typed = inputs.find(({ contents }) => usedFields(contents).length > 0);
  if (typed !== undefined) {
    throw new HandlerError(
      'INVALID_REQUEST',
      `Expected raw_input_contents or contents, got both for input ${shortName(typed.name)}.`,
    );
  }
}

function typedValues(
  { name, datatype, contents }: ModelInferRequest_InferInputTensor,
  fields: InputFields,
): readonly unknown[] {
  const expectedField = contentsFields.find(({ datatypes }) => datatypes.includes(datatype));
  const other = usedFields(contents).find((used) => used !== expectedField);
  if (other !== undefined) {
    const expected = expectedField?.name ?? 'raw_input_contents';
    throw new HandlerError(
      'INVALID_INPUT',
      `Expected input ${shortName(name)} of datatype ${shortName(datatype)} to have ${expected}, got ${other.name}.`,
    );
  }
  if (contents === undefined || expectedField === undefined) return [];
  if (expectedField.field === 'bytesContents') {
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    return contents.bytesContents.map((element) => textElement(element, field ?? {}));
  }
  return contents[expectedField.field].map((value) => (typeof value === 'bigint' ? Number(value) : value));
}

function usedFields(contents: InferTensorContents | undefined) {
  return contentsFields.filter(({ field }) => contents !== undefined && contents[field].length > 0);
}

/** Parameters with their values. One without a value is as absent, as null is in JSON. */
function parameterValues(parameters: Readonly<Record<string, InferParameter>>): Readonly<Record<string, unknown>> {
  const values = Object.entries(parameters).map(([name, { parameterChoice }]) => {
    const { value } = parameterChoice;
    return [name, typeof value === 'bigint' ? Number(value) : value] as const;
  });
  return Object.fromEntries(values.filter(([, value]) => value !== undefined));
}
