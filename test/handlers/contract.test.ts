import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type InferlessModel from '../../app.ts';
import { imagePath } from '../support/goldens.ts';
import { type InferAnswer, type RunningDoors, startDoors, tensorsOf, typedBytes } from '../support/grpc.ts';
import { startFunction, type TestFunction } from '../support/lambda.ts';
import { functionUrlEvent } from '../support/lambda-events.ts';
import { multipart } from '../support/multipart.ts';
import { bytes, dataUri, type ImageServer, INFER_PATH, send, startImageServer } from '../support/server.ts';

/**
 * What every door does alike that captions, whoever stands before it: one suite of behaviours, asked at each. CLIP's
 * `/encode` and `/rank` caption nothing: http/clip-service.test.ts is for them.
 */

const settings = { apiTokens: ['secret'], maxQueueSize: 2, maxBodyBytes: 1_000_000, requestTimeoutMs: 1_500 };

interface Asked {
  readonly images: readonly string[];
  readonly parameters?: Readonly<Record<string, number>>;
  readonly token?: string;
  readonly model?: string;
}

/** Captions, empty for an image that failed; or the code of an error. */
type Answer = readonly string[] | string;

interface Door {
  readonly name: string;
  readonly ask: (asked: Asked) => Promise<Answer>;
  readonly model: () => InferlessModel;
  /** What it cannot be asked: several images in one request, another model, without a token. */
  readonly lacks?: readonly ('several' | 'model' | 'token')[];
}

let doors: RunningDoors;
let lambda: TestFunction;
let images: ImageServer;

beforeAll(async () => {
  [doors, images] = await Promise.all([startDoors(settings), startImageServer()]);
  lambda = startFunction({ ...settings, lambdaAuthorizer: 'tokens' });
  await lambda.environment.load();
});
afterAll(async () => {
  await lambda?.close();
  await doors?.close();
  await images?.close();
});

const authorization = ({ token = 'secret' }: Asked): Record<string, string> =>
  token === '' ? {} : { authorization: `Bearer ${token}` };

/** Posts to the HTTP server; errors are their codes. */
async function post(path: string, body: string | Uint8Array, asked: Asked, headers = {}): Promise<string> {
  const answer = await send(doors.url, {
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

const inferBody = ({ images: sources, parameters }: Asked) => ({ inputs: [bytes('img_url', sources)], parameters });
const captionsIn = (text: string): readonly string[] => JSON.parse(text).outputs[0].data;
const list = (value: string | readonly string[]): readonly string[] => (typeof value === 'string' ? [value] : value);

/** A job that failed is an answer: its error begins with the code. */
function jobOutput({ error, output }: { error?: string | null; output: never }): string | readonly string[] {
  if (error) throw new Error(error.split(':')[0]);
  return output;
}

/** The captions of as many instances as there are images. */
async function predict(path: string, asked: Asked): Promise<readonly string[]> {
  const instances = asked.images.map((image) => ({ img_url: image, ...asked.parameters }));
  const { predictions } = JSON.parse(await post(path, JSON.stringify({ instances }), asked));
  return predictions.map(({ generated_output = '' }: { generated_output?: string }) => generated_output);
}

const http = () => doors.model;

const everyDoor: readonly Door[] = [
  {
    name: 'infer',
    model: http,
    ask: (asked) =>
      outcome(async () =>
        captionsIn(
          await post(
            INFER_PATH.replace('captioning', asked.model ?? 'captioning'),
            JSON.stringify(inferBody(asked)),
            asked,
          ),
        ),
      ),
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
          shape: [asked.images.length],
          parameters: { binary_data_size: section.length },
        };
        const json = Buffer.from(JSON.stringify({ inputs: [input], parameters: asked.parameters }));
        const path = INFER_PATH.replace('captioning', asked.model ?? 'captioning');
        const headers = { 'inference-header-content-length': String(json.length) };
        return captionsIn(await post(path, Buffer.concat([json, section]), asked, headers));
      }),
  },
  {
    name: 'generate',
    model: http,
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
    lacks: ['several', 'model'],
    ask: (asked) =>
      outcome(async () => {
        const fields = Object.entries(asked.parameters ?? {}).map(([name, value]) => ({ name, value: String(value) }));
        const { body, contentType } = multipart([{ name: 'img', value: asked.images[0] ?? '' }, ...fields]);
        return [await post('/generate', body, asked, { 'content-type': contentType })];
      }),
  },
  {
    name: 'Hugging Face',
    model: http,
    lacks: ['several', 'model'],
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
    ask: (asked) => outcome(() => predict(`/v1/models/${asked.model ?? 'captioning'}:predict`, asked)),
  },
  {
    name: 'Vertex AI',
    model: http,
    lacks: ['model'],
    ask: (asked) => outcome(() => predict('/vertex/predict', asked)),
  },
  {
    name: 'Cog',
    model: http,
    lacks: ['model'],
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
  {
    name: 'RunPod',
    model: http,
    ask: (asked) =>
      outcome(async () => {
        const input = { img_url: asked.images, ...asked.parameters };
        const path = asked.model === undefined ? '/runsync' : `/v2/${asked.model}/runsync`;
        const { generated_output } = jobOutput(
          JSON.parse(await post(path, JSON.stringify({ input }), asked)),
        ) as never as { generated_output: string };
        return list(generated_output);
      }),
  },
  {
    name: 'gRPC',
    model: http,
    ask: (asked) =>
      outcome(async () => {
        const parameters = Object.fromEntries(
          Object.entries(asked.parameters ?? {}).map(([name, value]) => [name, { int64_param: value }]),
        );
        const request = {
          model_name: asked.model ?? 'captioning',
          inputs: [typedBytes('img_url', asked.images)],
          parameters,
        };
        try {
          const answer = await doors.client.call<InferAnswer>('ModelInfer', request, {
            metadata: authorization(asked),
          });
          return (tensorsOf(answer)[0]?.data ?? []).map(String);
        } catch (error) {
          const { metadata } = error as { metadata: { get(name: string): readonly unknown[] } }; // A status of gRPC.
          throw new Error(String(metadata.get('error-code')[0]));
        }
      }),
  },
  {
    name: 'a Function URL of AWS Lambda',
    model: () => lambda.environment.models[0] ?? doors.model,
    ask: (asked) =>
      outcome(async () => {
        const path = INFER_PATH.replace('captioning', asked.model ?? 'captioning');
        const event = functionUrlEvent({ path, method: 'POST', headers: authorization(asked), body: inferBody(asked) });
        const { statusCode, body } = (await lambda.invoke(event)) as { statusCode: number; body: string }; // Of a Function URL.
        if (statusCode !== 200) throw new Error(JSON.parse(body).code);
        return captionsIn(body);
      }),
  },
  {
    name: 'a direct invocation of AWS Lambda',
    model: () => lambda.environment.models[0] ?? doors.model,
    lacks: ['token'],
    ask: (asked) =>
      outcome(async () => {
        try {
          return captionsIn(
            JSON.stringify(
              await lambda.invoke({
                ...inferBody(asked),
                ...(asked.model === undefined ? {} : { model_name: asked.model }),
              }),
            ),
          );
        } catch (error) {
          throw new Error(error instanceof Error ? error.name : String(error));
        }
      }),
  },
];

const having = (...needed: readonly ('several' | 'model' | 'token')[]) =>
  everyDoor
    .filter(({ lacks = [] }) => !needed.some((each) => lacks.includes(each)))
    .map((door) => [door.name, door] as const);

const small = dataUri('small');
const chelsea = `data:;base64,${readFileSync(imagePath('chelsea')).toString('base64')}`;

async function captionsOf(
  model: InferlessModel,
  sources: readonly string[],
  parameters = {},
): Promise<readonly string[]> {
  const { outputs } = await model.inferTensors({ img_url: sources, ...parameters });
  return (outputs[0]?.data ?? []).map(String);
}

describe.each(having())('%s', (_, door) => {
  test('a good request is answered', async () => {
    expect(await door.ask({ images: [chelsea] })).toEqual(await captionsOf(door.model(), [chelsea]));
  });

  test('parameters count', async () => {
    const parameters = { max_new_tokens: 2 };
    expect(await door.ask({ images: [chelsea], parameters })).toEqual(
      await captionsOf(door.model(), [chelsea], parameters),
    );
    expect(await door.ask({ images: [chelsea], parameters: { max_new_tokens: 0 } })).toBe('INVALID_INPUT');
  });

  test('an image that is none is refused', async () => {
    expect(await door.ask({ images: ['####'] })).toBe('IMAGE_SOURCE_INVALID');
    expect(await door.ask({ images: ['data:;base64,bm8gcGljdHVyZQ=='] })).toBe('IMAGE_UNSUPPORTED');
    expect(await door.ask({ images: ['http://169.254.169.254/latest/meta-data'] })).toBe('IMAGE_SOURCE_BLOCKED');
  });

  test('a queue that is full refuses', async () => {
    const want = await captionsOf(door.model(), [small]);
    const stop = new AbortController();
    const held = [1, 2].map(() =>
      door
        .model()
        .inferTensors({ img_url: `${images.url}/held.png` }, undefined, stop.signal)
        .catch(() => undefined),
    );
    expect(await door.ask({ images: [small] })).toBe('OVERLOADED');
    stop.abort();
    await Promise.all(held);
    await expect.poll(() => door.ask({ images: [small] })).toEqual(want);
  });

  test('a request whose time is over is ended', async () => {
    expect(await door.ask({ images: [`${images.url}/held.png`] })).toBe('DEADLINE_EXCEEDED');
  });
});

describe.each(having('several'))('%s', (_, door) => {
  test('several images are answered in order', async () => {
    expect(await door.ask({ images: [chelsea, small] })).toEqual(await captionsOf(door.model(), [chelsea, small]));
  });

  test('one bad image spoils nothing', async () => {
    const [caption] = await captionsOf(door.model(), [chelsea]);
    expect(await door.ask({ images: ['####', chelsea] })).toEqual(['', caption]);
  });
});

test.each(having('model'))('%s: a model that is not there is not found', async (_, door) => {
  expect(await door.ask({ images: [small], model: 'other' })).toBe('NOT_FOUND');
});

test.each(having('token'))('%s: who has no token is not let in', async (_, door) => {
  expect(await door.ask({ images: [small], token: '' })).toBe('UNAUTHORIZED');
  expect(await door.ask({ images: [small], token: 'other' })).toBe('UNAUTHORIZED');
});

/** Lambda bounds its events itself. */
test.each(having('token').filter(([name]) => !name.includes('Lambda')))(
  '%s: a body that is too large is refused',
  async (_, door) => {
    expect(await door.ask({ images: [`data:;base64,${'A'.repeat(1_200_000)}`] })).toBe('PAYLOAD_TOO_LARGE');
  },
);
