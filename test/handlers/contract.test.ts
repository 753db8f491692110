import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type InferlessModel from '../../app.ts';
import { createHandlers } from '../../handlers/aws-lambda/handlers.ts';
import type { MessageResult } from '../../handlers/aws-lambda/sqs.ts';
import type { ErrorCode } from '../../protocol/errors.ts';
import type { NamedTensor } from '../../protocol/named-tensor.ts';
import { retryable } from '../../protocol/retryable.ts';
import { checkpointFolder, imagePath } from '../support/goldens.ts';
import { type InferAnswer, type RunningDoors, startDoors, tensorsOf, typedBytes } from '../support/grpc.ts';
import { httpResultOf, startFunction, type TestFunction } from '../support/lambda.ts';
import {
  functionUrlEvent,
  httpApiEvent,
  lambdaContext,
  loadBalancerEvent,
  restApiEvent,
  sqsEvent,
} from '../support/lambda-events.ts';
import { multipart } from '../support/multipart.ts';
import {
  bytes,
  dataUri,
  type ImageServer,
  INFER_PATH,
  type RunningServer,
  send,
  startImageServer,
  startServer,
} from '../support/server.ts';

/**
 * What every door does alike, whoever stands before it: one suite of behaviours, asked at each. CLIP's `/encode` and
 * `/rank` give vectors and cosines where the others give captions.
 */

const settings = { apiTokens: ['secret'], maxQueueSize: 2, maxBodyBytes: 1_000_000, requestTimeoutMs: 1_500 };

interface Asked {
  readonly images: readonly string[];
  readonly parameters?: Readonly<Record<string, number | string>>;
  /** How many images the shape says there are, where that is not their number. */
  readonly size?: number;
  readonly token?: string;
  readonly model?: string;
}

/** Captions, empty for an image that failed; or the code of an error. */
type Answer = readonly string[] | string;

/**
 * What a door may lack: several images in one request, of which one may fail; images by their addresses; parameters;
 * shapes; another model; a token to go without; a limit of bodies that is ours.
 */
type Trait = 'several' | 'partial' | 'sources' | 'parameters' | 'shapes' | 'model' | 'token' | 'limit';

interface Door {
  readonly name: string;
  readonly ask: (asked: Asked) => Promise<Answer>;
  readonly model: () => InferlessModel;
  readonly lacks?: readonly Trait[];
  /** What it answers to images; the captions of the model where it is absent. */
  readonly want?: (images: readonly string[]) => Promise<readonly string[]>;
  /** How it says a code; as it is where this is absent. */
  readonly says?: (code: ErrorCode) => string;
}

let doors: RunningDoors;
let clip: RunningServer;
let lambda: TestFunction;
let images: ImageServer;

beforeAll(async () => {
  [doors, clip, images] = await Promise.all([
    startDoors(settings),
    startServer({ ...settings, maxQueueSize: 3, checkpoint: checkpointFolder('clip-placeholder-end') }),
    startImageServer(),
  ]);
  lambda = startFunction({ ...settings, lambdaAuthorizer: 'tokens' });
  await lambda.environment.load();
});
afterAll(async () => {
  await lambda?.close();
  await doors?.close();
  await clip?.close();
  await images?.close();
});

const authorization = ({ token = 'secret' }: Asked): Record<string, string> =>
  token === '' ? {} : { authorization: `Bearer ${token}` };

/** Posts to the HTTP server; errors are their codes. */
async function post(
  path: string,
  body: string | Uint8Array,
  asked: Asked,
  headers = {},
  url = doors.url,
): Promise<string> {
  const answer = await send(url, {
    method: 'POST',
    path,
    body,
    headers: { ...authorization(asked), ...headers },
  });
  if (answer.status === 200) return answer.text;
  throw new Error(JSON.parse(answer.text).code);
}

/** What a door throws is the code of its error. */
async function outcome(work: () => Promise<readonly string[]>): Promise<Answer> {
  try {
    return await work();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const inferBody = ({ images: sources, parameters, size = sources.length }: Asked) => ({
  inputs: [{ ...bytes('img_url', sources), shape: [size] }],
  parameters,
});
const inferPath = ({ model = 'captioning' }: Asked) => INFER_PATH.replace('captioning', model);
/** The same where no path names the model. */
const namedBody = (asked: Asked) => ({
  ...inferBody(asked),
  ...(asked.model === undefined ? {} : { model_name: asked.model }),
});
const captionsIn = (text: string): readonly string[] => JSON.parse(text).outputs[0].data;
const list = (value: string | readonly string[]): readonly string[] => (typeof value === 'string' ? [value] : value);

/** A job that failed is an answer: its error begins with the code. */
function jobOutput({ error, output }: { error?: string | null; output: never }): string | readonly string[] {
  if (error) throw new Error(error.split(':')[0]);
  return output;
}

interface RunpodJob {
  readonly id: string;
  readonly status: string;
  readonly error?: string;
  readonly output: never;
}

/** What came of a job: while it goes on, its client asks for it. */
async function endOf(prefix: string, job: RunpodJob, asked: Asked): Promise<RunpodJob> {
  if (job.status !== 'IN_QUEUE' && job.status !== 'IN_PROGRESS') return job;
  await sleep(5);
  const { text } = await send(doors.url, { path: `${prefix}/status/${job.id}`, headers: authorization(asked) });
  return await endOf(prefix, JSON.parse(text), asked);
}

/** The captions of as many instances as there are images. */
async function predict(path: string, asked: Asked): Promise<readonly string[]> {
  const instances = asked.images.map((image) => ({ img_url: image, ...asked.parameters }));
  const { predictions } = JSON.parse(await post(path, JSON.stringify({ instances }), asked));
  return predictions.map(({ generated_output = '' }: { generated_output?: string }) => generated_output);
}

const http = () => doors.model;
const onLambda = () => lambda.environment.models[0] ?? doors.model;

/** The request as a message of gRPC. */
function message(asked: Asked): object {
  const parameters = Object.entries(asked.parameters ?? {}).map(
    ([name, value]) => [name, typeof value === 'number' ? { int64_param: value } : { string_param: value }] as const,
  );
  return {
    model_name: asked.model ?? 'captioning',
    inputs: [{ ...typedBytes('img_url', asked.images), shape: [asked.size ?? asked.images.length] }],
    parameters: Object.fromEntries(parameters),
  };
}

const captionsOfMessage = (answer: InferAnswer): readonly string[] => (tensorsOf(answer)[0]?.data ?? []).map(String);

function codeOfCall(error: unknown): string {
  const { metadata } = error as { metadata: { get(name: string): readonly unknown[] } }; // A status of gRPC.
  return String(metadata.get('error-code')[0]);
}

const clipText = 'a cat';
const rowsOfMatrix = (matrix: readonly (readonly number[])[]) => matrix.map((row) => row.join());

/** The rows of an output, as texts. */
function rowsOf(outputs: readonly NamedTensor[], name: string): readonly string[] {
  const { shape: [count = 0, length = 0] = [], data = [] } = outputs.find((output) => output.name === name) ?? {};
  return Array.from({ length: count }, (_, row) => data.slice(row * length, (row + 1) * length).join());
}

async function answerOf(
  model: InferlessModel,
  sources: readonly string[],
  inputs = {},
): Promise<readonly NamedTensor[]> {
  return (await model.inferTensors({ inputs: { img_url: sources, ...inputs } })).outputs;
}

const everyDoor: readonly Door[] = [
  {
    name: 'infer',
    model: http,
    ask: (asked) =>
      outcome(async () => captionsIn(await post(inferPath(asked), JSON.stringify(inferBody(asked)), asked))),
  },
  {
    name: 'infer with binary tensors',
    model: http,
    ask: (asked) =>
      outcome(async () => {
        const section = Buffer.concat(
          asked.images.flatMap((image) => {
            const length = Buffer.alloc(4);
            length.writeUInt32LE(Buffer.byteLength(image));
            return [length, Buffer.from(image)];
          }),
        );
        const input = {
          name: 'img_url',
          datatype: 'BYTES',
          shape: [asked.size ?? asked.images.length],
          parameters: { binary_data_size: section.length },
        };
        const json = Buffer.from(JSON.stringify({ inputs: [input], parameters: asked.parameters }));
        const headers = { 'inference-header-content-length': String(json.length) };
        return captionsIn(await post(inferPath(asked), Buffer.concat([json, section]), asked, headers));
      }),
  },
  {
    name: 'generate',
    model: http,
    lacks: ['shapes'],
    ask: (asked) =>
      outcome(async () => {
        const path = `/v2/models/${asked.model ?? 'captioning'}/generate`;
        return list(
          JSON.parse(await post(path, JSON.stringify({ img_url: asked.images, parameters: asked.parameters }), asked))
            .generated_output,
        );
      }),
  },
  {
    name: 'generate_stream',
    model: http,
    lacks: ['shapes'],
    ask: (asked) =>
      outcome(async () => {
        const path = `/v2/models/${asked.model ?? 'captioning'}/generate_stream`;
        const body = { img_url: asked.images, parameters: asked.parameters };
        const event = await post(path, JSON.stringify(body), asked);
        return list(JSON.parse(event.replace(/^data: /, '')).generated_output);
      }),
  },
  {
    name: 'BentoML',
    model: http,
    lacks: ['several', 'partial', 'shapes', 'model'],
    ask: (asked) =>
      outcome(async () => {
        const fields = Object.entries(asked.parameters ?? {}).map(([name, value]) => ({ name, value: String(value) }));
        const { body, contentType } = multipart([{ name: 'img', value: asked.images[0] ?? '' }, ...fields]);
        return [await post('/generate', body, asked, { 'content-type': contentType })];
      }),
  },
  {
    name: 'BentoML in JSON',
    model: http,
    lacks: ['several', 'partial', 'shapes', 'model'],
    ask: (asked) =>
      outcome(async () => [
        await post('/generate', JSON.stringify({ img: asked.images[0], ...asked.parameters }), asked),
      ]),
  },
  {
    name: 'Hugging Face in bytes',
    model: http,
    lacks: ['several', 'partial', 'sources', 'shapes', 'model'],
    ask: (asked) =>
      outcome(async () => {
        const query = new URLSearchParams(
          Object.entries(asked.parameters ?? {}).map(([name, value]): [string, string] => [name, String(value)]),
        );
        const file = Buffer.from(asked.images[0]?.split(',')[1] ?? '', 'base64');
        const headers = { 'content-type': 'image/png' };
        return [JSON.parse(await post(`/?${query}`, file, asked, headers)).generated_text];
      }),
  },
  {
    name: 'Hugging Face',
    model: http,
    lacks: ['several', 'partial', 'shapes', 'model'],
    ask: (asked) =>
      outcome(async () => [
        JSON.parse(
          await post('/predict', JSON.stringify({ inputs: asked.images[0], parameters: asked.parameters }), asked),
        ).generated_text,
      ]),
  },
  {
    name: "KServe's first protocol",
    model: http,
    lacks: ['shapes'],
    ask: (asked) => outcome(() => predict(`/v1/models/${asked.model ?? 'captioning'}:predict`, asked)),
  },
  {
    name: 'Vertex AI',
    model: http,
    lacks: ['shapes', 'model'],
    ask: (asked) => outcome(() => predict('/vertex/predict', asked)),
  },
  {
    name: 'Cog',
    model: http,
    lacks: ['shapes', 'model'],
    ask: (asked) =>
      outcome(async () => {
        const input = { img_url: asked.images, ...asked.parameters };
        const output: unknown = jobOutput(JSON.parse(await post('/predictions', JSON.stringify({ input }), asked)));
        // With errors beside the captions, the output has names.
        return list(
          typeof output === 'object' && output !== null && 'generated_output' in output
            ? (output.generated_output as string[])
            : (output as string),
        );
      }),
  },
  ...(
    [
      ['RunPod', 'runsync'],
      ['RunPod, asked for later', 'run'],
    ] as const
  ).map(
    ([name, operation]): Door => ({
      name,
      model: http,
      lacks: ['shapes'],
      ask: (asked) =>
        outcome(async () => {
          const input = { img_url: asked.images, ...asked.parameters };
          const prefix = asked.model === undefined ? '' : `/v2/${asked.model}`;
          const job = JSON.parse(await post(`${prefix}/${operation}`, JSON.stringify({ input }), asked));
          const { generated_output } = jobOutput(await endOf(prefix, job, asked)) as never as {
            generated_output: string;
          };
          return list(generated_output);
        }),
    }),
  ),
  {
    name: "CLIP-API-service's encode",
    model: () => clip.model,
    lacks: ['partial', 'parameters', 'shapes', 'model'],
    ask: (asked) =>
      outcome(async () => {
        const items = asked.images.map((image) => ({ img_uri: image }));
        return rowsOfMatrix(JSON.parse(await post('/encode', JSON.stringify(items), asked, {}, clip.url)));
      }),
    want: async (sources) => rowsOf(await answerOf(clip.model, sources), 'image_embeds'),
  },
  {
    name: "CLIP-API-service's rank",
    model: () => clip.model,
    lacks: ['partial', 'parameters', 'shapes', 'model'],
    ask: (asked) =>
      outcome(async () => {
        const body = {
          queries: asked.images.map((image) => ({ img_uri: image })),
          candidates: [{ text: clipText }],
        };
        const answer = await post('/rank', JSON.stringify(body), asked, {}, clip.url);
        return rowsOfMatrix(JSON.parse(answer).cosine_similarities);
      }),
    want: async (sources) => rowsOf(await answerOf(clip.model, sources, { text: [clipText] }), 'cosine_similarity'),
  },
  {
    name: 'gRPC',
    model: http,
    ask: (asked) =>
      outcome(async () => {
        const metadata = authorization(asked);
        try {
          return captionsOfMessage(await doors.client.call<InferAnswer>('ModelInfer', message(asked), { metadata }));
        } catch (error) {
          throw new Error(codeOfCall(error));
        }
      }),
  },
  {
    name: 'a stream of gRPC',
    model: http,
    ask: (asked) =>
      outcome(async () => {
        const call = doors.client.open('ModelStreamInfer', { metadata: authorization(asked) });
        call.end(message(asked));
        const [answer] = await call.toArray().catch((error: unknown) => {
          throw new Error(codeOfCall(error));
        });
        const { error_message: error, infer_response: response } = answer; // As the .proto says.
        if (error !== '') throw new Error(error.split(':')[0]);
        return captionsOfMessage(response);
      }),
  },
  ...(
    [
      ['a Function URL of AWS Lambda', functionUrlEvent],
      ['an HTTP API of AWS Lambda', httpApiEvent],
      ['a REST API of AWS Lambda', restApiEvent],
      ['a load balancer of AWS Lambda', loadBalancerEvent],
    ] as const
  ).map(
    ([name, eventOf]): Door => ({
      name,
      model: onLambda,
      ask: (asked) =>
        outcome(async () => {
          const headers = authorization(asked);
          const event = eventOf({ path: inferPath(asked), method: 'POST', headers, body: inferBody(asked) });
          const { statusCode, body } = httpResultOf(await lambda.invoke(event));
          if (statusCode !== 200) throw new Error(JSON.parse(body).code);
          return captionsIn(body);
        }),
    }),
  ),
  {
    name: 'a direct invocation of AWS Lambda',
    model: onLambda,
    lacks: ['token', 'limit'],
    ask: (asked) =>
      outcome(async () => {
        try {
          return captionsIn(JSON.stringify(await lambda.invoke(namedBody(asked))));
        } catch (error) {
          throw new Error(error instanceof Error ? error.name : String(error));
        }
      }),
  },
  {
    name: 'a message of SQS',
    model: onLambda,
    lacks: ['token', 'limit'],
    ask: (asked) =>
      outcome(async () => {
        const results: MessageResult[] = [];
        const { handler } = createHandlers(lambda.environment, { onResult: (result) => void results.push(result) });
        const again = await handler(sqsEvent({ first: namedBody(asked) }), lambdaContext());
        const [result] = results;
        if (result === undefined) throw new Error(JSON.stringify(again));
        if ('error' in result) throw new Error(result.error.code);
        return (result.response.outputs[0]?.data ?? []).map(String);
      }),
    says: (code) => (retryable[code] ? '{"batchItemFailures":[{"itemIdentifier":"first"}]}' : code),
  },
];

const having = (...needed: readonly Trait[]) =>
  everyDoor
    .filter(({ lacks = [] }) => !needed.some((each) => lacks.includes(each)))
    .map((door) => [door.name, door] as const);

const small = dataUri('small');
const chelsea = `data:;base64,${readFileSync(imagePath('chelsea')).toString('base64')}`;

/** What a door answers to images. */
async function want(
  { model, want: wanted }: Door,
  sources: readonly string[],
  parameters = {},
): Promise<readonly string[]> {
  if (wanted !== undefined) return await wanted(sources);
  return ((await answerOf(model(), sources, parameters))[0]?.data ?? []).map(String);
}

const said = ({ says }: Door, code: ErrorCode) => says?.(code) ?? code;

describe.each(having())('%s', (_, door) => {
  test('a good request is answered', async () => {
    expect(await door.ask({ images: [chelsea] })).toEqual(await want(door, [chelsea]));
  });

  test('an image that is none is refused', async () => {
    expect(await door.ask({ images: ['data:;base64,bm8gcGljdHVyZQ=='] })).toBe('IMAGE_UNSUPPORTED');
  });

  test('a queue that is full refuses', async () => {
    const wanted = await want(door, [small]);
    const stop = new AbortController();
    const held = Array.from({ length: door.model().settings.maxQueueSize }, () =>
      door
        .model()
        .inferTensors({ inputs: { img_url: `${images.url}/held.png` }, signal: stop.signal })
        .catch(() => undefined),
    );
    expect(await door.ask({ images: [small] })).toBe(said(door, 'OVERLOADED'));
    stop.abort();
    await Promise.all(held);
    await expect.poll(() => door.ask({ images: [small] })).toEqual(wanted);
  });
});

describe.each(having('sources'))('%s', (_, door) => {
  test('an image that is nowhere it may be is refused', async () => {
    expect(await door.ask({ images: ['####'] })).toBe('IMAGE_SOURCE_INVALID');
    expect(await door.ask({ images: ['http://169.254.169.254/latest/meta-data'] })).toBe('IMAGE_SOURCE_BLOCKED');
    expect(await door.ask({ images: [`${images.url}/missing.png`] })).toBe(said(door, 'IMAGE_FETCH_FAILED'));
  });

  test('a request whose time is over is ended', async () => {
    expect(await door.ask({ images: [`${images.url}/held.png`] })).toBe(said(door, 'DEADLINE_EXCEEDED'));
  });
});

describe.each(having('parameters'))('%s', (_, door) => {
  test('parameters count', async () => {
    const parameters = { max_new_tokens: 2 };
    expect(await door.ask({ images: [chelsea], parameters })).toEqual(await want(door, [chelsea], parameters));
  });

  test.each([0, 'many'])('a tensor with the value %j, which it cannot have, is refused', async (value) => {
    expect(await door.ask({ images: [small], parameters: { max_new_tokens: value } })).toBe('INVALID_INPUT');
  });
});

test.each(having('shapes'))('%s: a tensor whose shape is not that of its data is refused', async (_, door) => {
  for (const size of [0, 2]) expect(await door.ask({ images: [small], size })).toBe('INVALID_INPUT');
});

test.each(having('several'))('%s: several images are answered in order', async (_, door) => {
  expect(await door.ask({ images: [chelsea, small] })).toEqual(await want(door, [chelsea, small]));
});

test.each(having('several', 'partial'))('%s: one bad image spoils nothing', async (_, door) => {
  const [caption] = await want(door, [chelsea]);
  expect(await door.ask({ images: ['####', chelsea] })).toEqual(['', caption]);
});

test.each(having('model'))('%s: a model that is not there is not found', async (_, door) => {
  expect(await door.ask({ images: [small], model: 'other' })).toBe('NOT_FOUND');
});

test.each(having('token'))('%s: who has no token is not let in', async (_, door) => {
  expect(await door.ask({ images: [small], token: '' })).toBe('UNAUTHORIZED');
  expect(await door.ask({ images: [small], token: 'other' })).toBe('UNAUTHORIZED');
});

test.each(having('limit'))('%s: a body that is too large is refused', async (_, door) => {
  expect(await door.ask({ images: [`data:;base64,${'A'.repeat(1_600_000)}`] })).toBe('PAYLOAD_TOO_LARGE');
});
