import {
  create,
  type DescField,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { HandlerError } from '../../protocol/errors.ts';

/**
 * The most values of a message, counting those of nested messages. No request that can be answered has more. The limit
 * protects memory: a value of two bytes becomes an object of hundreds.
 */
const MAX_VALUES = 65_536;

/** A received message, or the reason for refusing it. A decoder must not throw: grpc-js makes that an internal error. */
export type Received<Input extends DescMessage> =
  | { readonly message: MessageShape<Input>; readonly lengthBytes: number }
  | { readonly refusal: HandlerError };

/** Any message. */
export type ReceivedMessage = Received<DescMessage>;

export interface DecoderOptions {
  /** The most bytes of a message. */
  readonly maxBytes: number;
  /** Keeps fields that the schema lacks, which messages need that come back as they were sent. */
  readonly keepsUnknownFields?: boolean;
}

/** A function that reads messages. It never throws; `requireMessage` does. */
export function decoder<Input extends DescMessage>(
  schema: Input,
  { maxBytes, keepsUnknownFields: readUnknownFields = false }: DecoderOptions,
): (bytes: Uint8Array) => Received<Input> {
  return (bytes) => {
    try {
      if (bytes.length > maxBytes)
        return refuse('PAYLOAD_TOO_LARGE', `Expected a message of at most ${maxBytes} bytes, got more.`);
      if (countValues(schema.fields, bytes, MAX_VALUES) > MAX_VALUES)
        return refuse('INVALID_REQUEST', `Expected a message of at most ${MAX_VALUES} values, got more.`);
      return { message: fromBinary(schema, bytes, { readUnknownFields }), lengthBytes: bytes.length };
    } catch {
      return refuse('INVALID_REQUEST', `Expected a message ${schema.typeName}, got bytes that do not parse as one.`);
    }
  };
}

function refuse(code: 'PAYLOAD_TOO_LARGE' | 'INVALID_REQUEST', message: string): { readonly refusal: HandlerError } {
  return { refusal: new HandlerError(code, message) };
}

/** A field as values are counted. */
interface CountedField {
  readonly number: number;
  readonly fieldKind: DescField['fieldKind'];
  readonly packed?: boolean;
  readonly message?: DescMessage | undefined;
}

/** The number that the format gives to the value in an entry of a map. */
const MAP_VALUE_NUMBER = 2;

/**
 * Counts the values of a message and of its nested messages, up to any number above `maximum`. Packed values count by
 * their bytes.
 * @throws Error when the bytes are no message.
 */
function countValues(fields: readonly CountedField[], bytes: Uint8Array, maximum: number): number {
  const reader = new BinaryReader(bytes);
  let count = 0;
  while (reader.pos < reader.len && count <= maximum) {
    count += 1;
    const [number, wireType] = reader.tag();
    if (wireType !== WireType.LengthDelimited) {
      reader.skip(wireType, number);
      continue;
    }
    const content = reader.bytes();
    const field = fields.find((candidate) => candidate.number === number);
    if (field?.fieldKind === 'list' && field.packed) count += content.length;
    else count += countNested(field, content, maximum - count);
  }
  return count;
}

function countNested(field: CountedField | undefined, content: Uint8Array, maximum: number): number {
  if (field?.message === undefined) return 0;
  if (field.fieldKind !== 'map') return countValues(field.message.fields, content, maximum);
  return countValues([{ number: MAP_VALUE_NUMBER, fieldKind: 'message', message: field.message }], content, maximum);
}

/** A function that encodes messages from their fields. It returns a view of the encoded bytes, not a copy. */
export function encoder<Output extends DescMessage>(schema: Output): (init: MessageInitShape<Output>) => Buffer {
  return (init) => {
    const bytes = toBinary(schema, create(schema, init));
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

/**
 * The message, unless it was refused.
 * @throws HandlerError `INVALID_REQUEST`, `PAYLOAD_TOO_LARGE`.
 */
export function requireMessage<Input extends DescMessage>(received: Received<Input>): MessageShape<Input> {
  if ('message' in received) return received.message;
  throw received.refusal;
}
