import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { HandlerError } from '../../protocol/errors.ts';

/** A message as it came. `undefined` stands for bytes that do not parse, which grpc-js would blame on the server. */
export interface Received<Input extends DescMessage> {
  readonly message: MessageShape<Input> | undefined;
}

export function decoder<Input extends DescMessage>(schema: Input): (bytes: Uint8Array) => Received<Input> {
  return (bytes) => {
    try {
      return { message: fromBinary(schema, bytes) };
    } catch {
      return { message: undefined };
    }
  };
}

export function encoder<Output extends DescMessage>(schema: Output): (init: MessageInitShape<Output>) => Buffer {
  return (init) => {
    const bytes = toBinary(schema, create(schema, init));
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

/** @throws HandlerError `INVALID_REQUEST`. */
export function requireMessage<Input extends DescMessage>(
  { typeName }: Input,
  { message }: Received<Input>,
): MessageShape<Input> {
  if (message !== undefined) return message;
  throw new HandlerError('INVALID_REQUEST', `Expected a message ${typeName}, got bytes that do not parse as one.`);
}
