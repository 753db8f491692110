import { Agent, type Dispatcher, request } from 'undici';
import { HandlerError } from '../protocol/errors.ts';

export interface ImageFetchOptions {
  /** From the first byte sent to the last byte read, redirects included. */
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly maxRedirects: number;
}

const redirectStatuses = new Set([301, 302, 303, 307, 308]);
/** Some hosts refuse requests without one. */
const USER_AGENT = 'blip-handler';

/**
 * Every connection for an image goes through this dispatcher. A guard against private addresses belongs in its
 * `connect` function, which sees each address that is really dialled: literal ones and those of redirects too.
 */
const dispatcher = new Agent({ connections: 32, keepAliveTimeout: 4_000 });

/**
 * Fetches an image. This is the only file that opens the network for images. Redirects are followed by hand, so that
 * each address passes the same checks; the server's own words never reach the message.
 * @throws HandlerError `IMAGE_SOURCE_INVALID`, `IMAGE_FETCH_FAILED`, `IMAGE_FETCH_TIMEOUT` or `IMAGE_TOO_LARGE`.
 */
export async function fetchImage(url: URL, options: ImageFetchOptions): Promise<Uint8Array> {
  const signal = AbortSignal.timeout(options.timeoutMs);
  try {
    return await follow(url, options, signal);
  } catch (thrown) {
    if (thrown instanceof HandlerError) throw thrown;
    if (signal.aborted) {
      throw new HandlerError(
        'IMAGE_FETCH_TIMEOUT',
        `Expected the image within ${options.timeoutMs} ms, got no whole answer by then.`,
        {
          cause: thrown,
        },
      );
    }
    throw new HandlerError('IMAGE_FETCH_FAILED', 'Expected an answer from the host of the image, got none.', {
      cause: thrown,
    });
  }
}

async function follow(first: URL, options: ImageFetchOptions, signal: AbortSignal): Promise<Uint8Array> {
  let url = first;
  for (let redirects = 0; redirects <= options.maxRedirects; redirects += 1) {
    requireHttp(url);
    const response = await request(url.href, {
      dispatcher,
      signal,
      headers: { 'user-agent': USER_AGENT, accept: 'image/*,*/*;q=0.8', 'accept-encoding': 'identity' },
    });
    const location = redirectStatuses.has(response.statusCode) ? response.headers['location'] : undefined;
    if (location === undefined) return await readBody(response, options.maxBytes);
    discard(response.body);
    url = redirectTarget(String(location), url);
  }
  throw new HandlerError(
    'IMAGE_FETCH_FAILED',
    `Expected the image after at most ${options.maxRedirects} redirects, got one more.`,
  );
}

function requireHttp(url: URL): void {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new HandlerError(
      'IMAGE_SOURCE_INVALID',
      `Expected an http or https URL, got one of ${url.protocol.slice(0, -1)}.`,
    );
  }
}

function redirectTarget(location: string, base: URL): URL {
  if (!URL.canParse(location, base.href)) {
    throw new HandlerError('IMAGE_FETCH_FAILED', 'Expected a redirect to a URL, got one to something else.');
  }
  return new URL(location, base);
}

async function readBody({ statusCode, headers, body }: Dispatcher.ResponseData, maxBytes: number): Promise<Uint8Array> {
  if (statusCode !== 200) {
    discard(body);
    throw new HandlerError('IMAGE_FETCH_FAILED', `Expected the host of the image to answer 200, got ${statusCode}.`);
  }
  const declaredBytes = Number(headers['content-length'] ?? 0);
  const chunks: Buffer[] = [];
  let receivedBytes = 0;
  if (declaredBytes <= maxBytes) {
    for await (const chunk of body) {
      chunks.push(chunk);
      receivedBytes += chunk.length;
      if (receivedBytes > maxBytes) break;
    }
  }
  if (Math.max(declaredBytes, receivedBytes) > maxBytes) {
    discard(body);
    throw new HandlerError('IMAGE_TOO_LARGE', `Expected an image of at most ${maxBytes} bytes, got more.`);
  }
  return Buffer.concat(chunks);
}

/** Gives up the rest of a body at once: it may never end. Without the listener, its abort would be an uncaught error. */
function discard(body: Dispatcher.ResponseData['body']): void {
  body.on('error', () => undefined).destroy();
}
