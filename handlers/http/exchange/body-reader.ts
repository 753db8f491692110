import type { FastifyRequest, RequestPayload } from 'fastify';
import { HandlerError } from '../../../protocol/errors.ts';

/** Counts bytes as they arrive. @throws HandlerError to refuse more. */
export type HoldBytes = (bytes: number) => void;

/**
 * Reads the whole body of a request, decoded.
 * @param payload the decoded body.
 * @param hold counts its bytes.
 * @throws HandlerError `PAYLOAD_TOO_LARGE` beyond the limit of the route, `INVALID_REQUEST` for another length than the
 *   head says, `CANCELLED` when the client leaves, and whatever `hold` throws. What arrives later is not kept.
 */
export async function readBody(request: FastifyRequest, payload: RequestPayload, hold: HoldBytes): Promise<Buffer> {
  const { bodyLimit } = request.routeOptions;
  const announcedBytes = Number(request.headers['content-length'] ?? Number.NaN);
  if (announcedBytes > bodyLimit) throw tooLarge();
  const body = await collect(payload, bodyLimit, hold);
  const receivedBytes = payload.receivedEncodedLength ?? body.length;
  if (!Number.isNaN(announcedBytes) && receivedBytes !== announcedBytes) {
    throw new HandlerError(
      'INVALID_REQUEST',
      'Expected as many bytes in the body as its content-length says, got another number.',
    );
  }
  return body;
}

function collect(payload: RequestPayload, bodyLimit: number, hold: HoldBytes): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const stop = () => void payload.off('data', read).off('end', finish).off('error', fail);
    const fail = (error: unknown) => {
      stop();
      payload.on('error', () => undefined); // The client may still leave, which must not end the process.
      reject(error);
    };
    const finish = () => {
      stop();
      resolve(Buffer.concat(chunks, length));
    };
    const read = (chunk: Buffer) => {
      length += chunk.length;
      try {
        if (length > bodyLimit || (payload.receivedEncodedLength ?? 0) > bodyLimit) throw tooLarge();
        hold(chunk.length);
        chunks.push(chunk);
      } catch (error) {
        fail(error);
      }
    };
    payload.on('data', read).once('end', finish).once('error', fail);
  });
}

function tooLarge(): HandlerError {
  return new HandlerError(
    'PAYLOAD_TOO_LARGE',
    'Expected a request body within the limit (BLIP_MAX_BODY_BYTES, or less for some paths), got a larger one.',
  );
}
