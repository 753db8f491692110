import type { Transform } from 'node:stream';
import { pipeline } from 'node:stream';
import { promisify } from 'node:util';
import { createGunzip, createInflate, deflate, gzip } from 'node:zlib';
import { negotiate } from '@fastify/accept-negotiator';
import type { FastifyInstance, RequestPayload } from 'fastify';
import { HandlerError } from '../../../protocol/errors.ts';
import { addVary } from './vary.ts';

/** Smaller answers fit into one packet without compression. */
const MIN_COMPRESSED_BYTES = 1024;

const decoders: Readonly<Record<string, () => Transform>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
};
const encoders = { gzip: promisify(gzip), deflate: promisify(deflate) };
const encodings = Object.keys(encoders) as readonly (keyof typeof encoders)[]; // The keys of a constant.

/**
 * Adds gzip and deflate: for bodies of requests by content-encoding, for answers by accept-encoding. The limit of a body's
 * size counts decoded bytes, so that a small body cannot grow without bound.
 */
export function addCompression(server: FastifyInstance): void {
  server.addHook('preParsing', async (request, _reply, payload) => {
    const encoding = request.headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
    return encoding === 'identity' ? payload : decoded(payload, encoding);
  });
  const compress = compressor();
  server.addHook('onSend', async (request, reply, payload) => {
    const body = typeof payload === 'string' ? Buffer.from(payload) : payload;
    if (!(body instanceof Uint8Array) || body.length < MIN_COMPRESSED_BYTES) return payload;
    const encoding = negotiate(request.headers['accept-encoding'] ?? '', [...encodings, 'identity']);
    const chosen = encodings.find((name) => name === encoding);
    addVary(reply, 'accept-encoding');
    if (chosen === undefined) return payload;
    reply.header('content-encoding', chosen).removeHeader('content-length');
    return await compress(body, chosen);
  });
}

/** A function that compresses bytes; once, while they live, however many answers share them. */
function compressor(): (body: Uint8Array, encoding: keyof typeof encoders) => Promise<Buffer> {
  const compressed = new WeakMap<Uint8Array, Map<string, Promise<Buffer>>>();
  return (body, encoding) => {
    const byEncoding = compressed.get(body) ?? new Map<string, Promise<Buffer>>();
    compressed.set(body, byEncoding);
    const bytes = byEncoding.get(encoding) ?? encoders[encoding](body);
    byEncoding.set(encoding, bytes);
    return bytes;
  };
}

/** The decoded body. @throws HandlerError `UNSUPPORTED_ENCODING`. */
function decoded(payload: RequestPayload, encoding: string): RequestPayload {
  const createDecoder = Object.hasOwn(decoders, encoding) ? decoders[encoding] : undefined;
  if (createDecoder === undefined) {
    throw new HandlerError(
      'UNSUPPORTED_ENCODING',
      'Expected a body with content-encoding gzip, deflate or identity, got another.',
    );
  }
  let receivedEncodedLength = 0; // Fastify compares it with the content-length.
  payload.on('data', (chunk: Buffer) => {
    receivedEncodedLength += chunk.length;
  });
  const decoder = pipeline(payload, createDecoder(), () => undefined); // The reader of the decoder gets its error.
  return Object.defineProperty(decoder, 'receivedEncodedLength', { get: () => receivedEncodedLength });
}
