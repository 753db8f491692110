import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * Lambda's side of a function. It gives the runtime one event after another, and takes the answers.
 * Source: AWS documentation, "Using the Lambda runtime API for custom runtimes".
 */
export interface RuntimeApi {
  /** The value of AWS_LAMBDA_RUNTIME_API. */
  readonly address: string;
  /** Resolves when the runtime has asked for its first event: the init phase is over. */
  readonly initialized: Promise<void>;
  /** Hands an event to the function. Resolves with its answer, or with the description of its failure. */
  invoke(event: unknown): Promise<unknown>;
  close(): void;
}

interface Invocation {
  readonly event: string;
  readonly settle: (answer: unknown) => void;
}

export async function startRuntimeApi(timeoutMs = 60_000): Promise<RuntimeApi> {
  const waiting: Invocation[] = [];
  const running = new Map<string, Invocation>();
  let idle: ServerResponse | undefined;
  let count = 0;
  let tellInitialized: () => void = () => undefined;
  const initialized = new Promise<void>((resolve) => {
    tellInitialized = resolve;
  });
  const dispatch = () => {
    const [invocation] = waiting;
    if (invocation === undefined || idle === undefined) return;
    waiting.shift();
    count += 1;
    const id = `00000000-0000-4000-8000-${String(count).padStart(12, '0')}`;
    running.set(id, invocation);
    idle.writeHead(200, {
      'content-type': 'application/json',
      'lambda-runtime-aws-request-id': id,
      'lambda-runtime-deadline-ms': String(Date.now() + timeoutMs),
      'lambda-runtime-invoked-function-arn': 'arn:aws:lambda:us-east-1:123456789012:function:captions',
      'lambda-runtime-trace-id': 'Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0',
    });
    idle.end(invocation.event);
    idle = undefined;
  };
  const server = http.createServer(async (request, response) => {
    const [, , , kind, id = '', outcome] = (request.url ?? '').split('/');
    if (kind === 'invocation' && id === 'next') {
      idle = response;
      tellInitialized();
      dispatch();
      return;
    }
    const text = await readText(request);
    response.writeHead(202).end();
    if (kind === 'init') for (const { settle } of waiting.splice(0)) settle(JSON.parse(text));
    else if (outcome === 'response' || outcome === 'error') {
      running.get(id)?.settle(JSON.parse(text));
      running.delete(id);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // It listens on a port, not on a pipe.
  return {
    address: `127.0.0.1:${port}`,
    initialized,
    invoke: (event) =>
      new Promise((settle) => {
        waiting.push({ event: JSON.stringify(event), settle });
        dispatch();
      }),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
