import { Writable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createHandlers } from '../../../handlers/aws-lambda/handlers.ts';
import { failureOf, startFunction, type TestFunction } from '../../support/lambda.ts';
import { functionUrlEvent, lambdaContext, restApiEvent, sqsEvent } from '../../support/lambda-events.ts';
import { bytes, dataUri, INFER_PATH } from '../../support/server.ts';

/** Streamed answers, written to a stream that behaves like the one of AWS's runtime client. */

/** Source: aws/aws-lambda-nodejs-runtime-interface-client, src/ResponseStream.js. */
class RuntimeStream extends Writable {
  contentType = 'application/octet-stream';
  onBeforeFirstWrite: ((write: (chunk: string | Uint8Array) => void) => void) | undefined;
  readonly #chunks: Buffer[] = [];

  setContentType(contentType: string): void {
    this.contentType = contentType;
  }

  override write(chunk: string | Uint8Array): boolean {
    if (this.#chunks.length === 0) this.onBeforeFirstWrite?.((first) => this.#chunks.push(Buffer.from(first)));
    this.#chunks.push(Buffer.from(chunk));
    return true;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get text(): string {
    return this.bytes.toString('utf8');
  }
}

/** Source: aws/aws-lambda-nodejs-runtime-interface-client, src/UserFunction.js and src/HttpResponseStream.js. */
const runtime = {
  streamifyResponse: (handler: object) => Object.assign(handler, { isStreaming: true }),
  HttpResponseStream: {
    from(stream: RuntimeStream, prelude: object) {
      stream.setContentType('application/vnd.awslambda.http-integration-response');
      stream.onBeforeFirstWrite = (write) => {
        write(JSON.stringify(prelude));
        write(new Uint8Array(8));
      };
      return stream;
    },
  },
};

let served: TestFunction;

beforeAll(() => {
  vi.stubGlobal('awslambda', runtime); // A handler is marked when it is made.
  served = startFunction();
});

beforeEach(() => {
  vi.stubGlobal('awslambda', runtime);
});

afterAll(() => served?.close());

type ResponseStream = Parameters<TestFunction['streamHandler']>[1];

async function stream(event: object): Promise<RuntimeStream> {
  const responseStream = new RuntimeStream();
  // RuntimeStream has every member that the handler uses.
  await served.streamHandler(event, responseStream as unknown as ResponseStream, lambdaContext());
  expect(responseStream.writableEnded).toBe(true);
  return responseStream;
}

/** The prelude before the eight zeros, and the body after them. */
function partsOf({ bytes: all }: RuntimeStream): readonly [prelude: unknown, body: string, bodyBytes: Buffer] {
  const zeros = all.indexOf(Buffer.alloc(8));
  const body = all.subarray(zeros + 8);
  return [JSON.parse(all.subarray(0, zeros).toString('utf8')), body.toString('utf8'), body];
}

const request = { inputs: [bytes('img_url', [dataUri('small')])] };

describe('streamHandler', () => {
  test('is marked as streaming', () => {
    expect(served.streamHandler).toHaveProperty('isStreaming', true);
  });

  test.each([
    ['a Function URL', functionUrlEvent],
    ['a REST API', restApiEvent],
  ])('streams an answer over HTTP to %s', async (_name, event) => {
    const answer = await stream(event({ path: INFER_PATH, body: request }));
    expect(answer.contentType).toBe('application/vnd.awslambda.http-integration-response');
    const [prelude, body] = partsOf(answer);
    expect(prelude).toMatchObject({ statusCode: 200, headers: { 'content-type': 'application/json' } });
    expect(JSON.parse(body)).toMatchObject({ model_name: 'captioning', outputs: [{ name: 'generated_output' }] });
  });

  test('streams binary tensors as the HTTP server sends them', async () => {
    const body = { ...request, outputs: [{ name: 'token_logprobs', parameters: { binary_data: true } }] };
    const [prelude, , streamed] = partsOf(await stream(functionUrlEvent({ path: INFER_PATH, body })));
    const reference = await served.environment.server.inject({ method: 'POST', url: INFER_PATH, payload: body });
    expect(prelude).toMatchObject({ statusCode: 200, headers: { 'content-type': 'application/octet-stream' } });
    expect(streamed).toEqual(reference.rawPayload);
    expect(reference.rawPayload).not.toEqual(Buffer.from(reference.payload)); // Bytes that are no text.
  });

  test('streams errors, and answers without a body', async () => {
    const [missing, missingBody] = partsOf(await stream(functionUrlEvent({ path: '/nothing' })));
    expect([missing, JSON.parse(missingBody)]).toMatchObject([{ statusCode: 404 }, { code: 'NOT_FOUND' }]);
    const [head, headBody] = partsOf(await stream(functionUrlEvent({ path: '/v2', method: 'HEAD' })));
    expect([head, headBody]).toMatchObject([{ statusCode: 200 }, '']);
  });

  test('streams an answer that is too large to be returned', async () => {
    const id = 'x'.repeat(7 * 1024 * 1024);
    const [prelude, body] = partsOf(await stream(functionUrlEvent({ path: INFER_PATH, body: { ...request, id } })));
    expect(prelude).toMatchObject({ statusCode: 200 });
    expect(JSON.parse(body).id).toHaveLength(id.length);
  });

  test('streams the answer to a request body', async () => {
    const answer = await stream(request);
    expect(answer.contentType).toBe('application/json');
    expect(JSON.parse(answer.text)).toMatchObject({ model_name: 'captioning' });
  });

  test('fails before anything is written, with the error of an invocation', async () => {
    const responseStream = new RuntimeStream();
    const target = responseStream as unknown as ResponseStream; // As above.
    const answer = async (event: object) => await served.streamHandler(event, target, lambdaContext());
    expect(await failureOf(answer({ inputs: [] }))).toMatchObject({ errorType: 'INVALID_REQUEST' });
    expect(await failureOf(answer(sqsEvent({ first: request })))).toMatchObject({ errorType: 'INVALID_INPUT' });
    expect(responseStream.text).toBe('');
  });
});

describe('threads of the models', () => {
  test('do not keep a handler from its next event', async () => {
    const { handler, streamHandler } = createHandlers(served.environment);
    const [returned, streamed] = [lambdaContext(), lambdaContext()];
    await handler(request, returned);
    await streamHandler(request, new RuntimeStream() as unknown as ResponseStream, streamed); // As above.
    expect([returned, streamed].map((context) => context.callbackWaitsForEmptyEventLoop)).toEqual([false, false]);
  });
});

test('a handler outside of the runtime is not marked as streaming', () => {
  vi.unstubAllGlobals();
  const { streamHandler } = startFunction();
  expect(streamHandler).not.toHaveProperty('isStreaming');
});
