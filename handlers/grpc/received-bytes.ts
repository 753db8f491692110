import { Readable } from 'node:stream';
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import type { AdmittedRequest } from '../service/admitted-request.ts';
import type { ReceivedMessage } from './codec.ts';

/**
 * Counts the bytes of a call that asks a model as they arrive, which grpc-js keeps until a message is whole. The message
 * of a unary call counts until its answer. The messages of a stream are requests of their own.
 */
export class ReceivedBytes {
  readonly #admitted: AdmittedRequest;
  readonly #isStream: boolean;
  readonly #refuse: (thrown: unknown) => void;
  #bytes = 0;

  /** @param refuse ends the call with an error. */
  constructor(
    call: ServerInterceptingCallInterface,
    admitted: AdmittedRequest,
    isStream: boolean,
    refuse: (thrown: unknown) => void,
  ) {
    this.#admitted = admitted;
    this.#isStream = isStream;
    this.#refuse = refuse;
    // grpc-js has no event for them. If a later version renames the property, messages count once they are whole.
    if ('stream' in call && call.stream instanceof Readable)
      call.stream.on('data', ({ length }: Buffer) => void this.#hold(length));
  }

  /** A message is whole, and perhaps larger than it was in gzip. @returns whether there is room for it. */
  accept(message: ReceivedMessage): boolean {
    if (!this.#isStream) return !('message' in message) || this.#hold(message.lengthBytes - this.#bytes);
    this.#admitted.body.clear();
    return true;
  }

  /** The call is over. */
  leave(): void {
    if (this.#isStream) this.#admitted.body.release();
    this.#admitted.leaveUnlessHandled();
  }

  #hold(bytes: number): boolean {
    if (bytes <= 0) return true;
    this.#bytes += bytes;
    try {
      this.#admitted.body.hold(bytes);
      return true;
    } catch (thrown) {
      this.#refuse(thrown);
      return false;
    }
  }
}
