import type { StreamifyHandler } from 'aws-lambda';
import type { EventAnswer } from './http-event.ts';

type ResponseStream = Parameters<StreamifyHandler>[1];

/**
 * Marks a handler as one that writes its answer to a stream. Only Lambda's runtime has the function for that. Elsewhere the
 * handler stays as it is, so that its module can be imported anywhere; AWS's SDK makes an empty `awslambda`.
 * Source: AWS documentation, "Writing response streaming-enabled Lambda functions".
 */
export function streamify(handler: StreamifyHandler<unknown, Promise<void>>): StreamifyHandler<unknown, Promise<void>> {
  const isLambda = typeof awslambda !== 'undefined' && 'streamifyResponse' in awslambda;
  return isLambda ? awslambda.streamifyResponse(handler) : handler;
}

/** Streams an HTTP answer: status and headers first, then the body. */
export function writeHttp(stream: ResponseStream, { status, headers, body }: EventAnswer): void {
  write(awslambda.HttpResponseStream.from(stream, { statusCode: status, headers }), body);
}

export function writeJson(stream: ResponseStream, value: unknown): void {
  stream.setContentType('application/json');
  write(stream, JSON.stringify(value));
}

/** Status and headers leave with the first write, so there must be one, even if it is empty. `end` takes no data here. */
function write(stream: ResponseStream, body: string | Buffer): void {
  stream.write(body);
  stream.end();
}
