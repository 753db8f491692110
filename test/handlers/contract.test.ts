import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bearerTokenCheck } from '../../handlers/service/bearer-token.ts';
import type { ErrorCode } from '../../protocol/errors.ts';
import { imagePath } from '../support/goldens.ts';
import { dataUri, type ImageServer, startImageServer } from '../support/server.ts';
import { everyDoor } from './contract/doors.ts';
import {
  answerOfModel,
  type ContractAnswer,
  type ContractRequest,
  type ContractServers,
  type DoorUnderContract,
  type Feature,
  startContractServers,
} from './contract/request.ts';

/** The behaviour that all doors share: one suite, asked at each door of contract/doors.ts. */

let servers: ContractServers;
/** Servers that end each request early, and wait for as many as there are doors. */
let impatientServers: ContractServers;
let images: ImageServer;

beforeAll(async () => {
  [servers, impatientServers, images] = await Promise.all([
    startContractServers({ maxQueueSize: 2, requestTimeoutMs: 30_000 }, 3),
    startContractServers({ maxQueueSize: 100, requestTimeoutMs: 500 }),
    startImageServer(),
  ]);
});
afterAll(async () => {
  await Promise.all([servers?.close(), impatientServers?.close(), images?.close()]);
});

/** The doors that have all of these features. */
function doorsWith(...features: readonly Feature[]): readonly (readonly [string, DoorUnderContract])[] {
  return everyDoor
    .filter(({ lacks }) => !features.some((feature) => lacks.includes(feature)))
    .map((door) => [door.name, door] as const);
}

/** The name of the token that the doors are asked with. */
const client = bearerTokenCheck(['secret'])('Bearer secret');

const small = dataUri('small');
const chelsea = `data:;base64,${readFileSync(imagePath('chelsea')).toString('base64')}`;

/** Asks a door; an error is its code. */
async function ask(door: DoorUnderContract, request: ContractRequest, of = servers): Promise<ContractAnswer> {
  try {
    return await door.ask(of, request);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** The answer that a door should give to images. */
async function expectedAnswer(
  { model, expected }: DoorUnderContract,
  sources: readonly string[],
  parameters = {},
): Promise<readonly string[]> {
  if (expected !== undefined) return await expected(servers, sources);
  return ((await answerOfModel(model(servers), sources, parameters))[0]?.data ?? []).map(String);
}

/** The form in which a door's client sees a code. */
const seen = ({ seenAs }: DoorUnderContract, code: ErrorCode): string => seenAs?.(code) ?? code;

describe.each(doorsWith())('%s', (_, door) => {
  test('answers a good request', async () => {
    expect(await ask(door, { images: [chelsea] })).toEqual(await expectedAnswer(door, [chelsea]));
  });

  test('refuses bytes that are no image', async () => {
    expect(await ask(door, { images: ['data:;base64,bm8gcGljdHVyZQ=='] })).toBe('IMAGE_UNSUPPORTED');
  });

  test('refuses a request while the queue is full', async () => {
    const expected = await expectedAnswer(door, [small]);
    const stop = new AbortController();
    const model = door.model(servers);
    const { maxQueueSize } = model.settings;
    // One client has the queue, and the other its share beside it: doors ask with the token, but for Lambda's messages.
    const clients = [
      ...Array.from({ length: maxQueueSize }, () => client),
      ...Array.from({ length: Math.ceil(maxQueueSize / 2) }, () => undefined),
    ];
    const inputs = { img_url: `${images.url}/held.png` };
    const hold = (of: string | undefined) => model.inferTensors({ inputs, signal: stop.signal, client: of });
    const held = clients.map((of) => hold(of).catch(() => undefined));
    expect(await ask(door, { images: [small] })).toBe(seen(door, 'OVERLOADED'));
    stop.abort();
    await Promise.all(held);
    await expect.poll(() => ask(door, { images: [small] })).toEqual(expected);
  });
});

test.each(doorsWith('sources'))('%s refuses an image from an address that is not allowed', async (_, door) => {
  expect(await ask(door, { images: ['####'] })).toBe('IMAGE_SOURCE_INVALID');
  expect(await ask(door, { images: ['http://169.254.169.254/latest/meta-data'] })).toBe('IMAGE_SOURCE_BLOCKED');
  expect(await ask(door, { images: [`${images.url}/missing.png`] })).toBe(seen(door, 'IMAGE_FETCH_FAILED'));
});

test.concurrent.each(doorsWith('sources'))('%s ends a request at its deadline', async (_, door) => {
  const answer = await ask(door, { images: [`${images.url}/held.png`] }, impatientServers);
  expect(answer).toBe(seen(door, 'DEADLINE_EXCEEDED'));
});

describe.each(doorsWith('parameters'))('%s', (_, door) => {
  test('obeys parameters', async () => {
    const parameters = { max_new_tokens: 2 };
    expect(await ask(door, { images: [chelsea], parameters })).toEqual(
      await expectedAnswer(door, [chelsea], parameters),
    );
  });

  test.each([0, 'many'])('refuses a parameter with the invalid value %j', async (value) => {
    expect(await ask(door, { images: [small], parameters: { max_new_tokens: value } })).toBe('INVALID_INPUT');
  });
});

test.each(doorsWith('shapes'))('%s refuses a tensor whose shape does not fit its data', async (_, door) => {
  for (const size of [0, 2]) expect(await ask(door, { images: [small], size })).toBe('INVALID_INPUT');
});

test.each(doorsWith('several'))('%s answers several images in order', async (_, door) => {
  expect(await ask(door, { images: [chelsea, small] })).toEqual(await expectedAnswer(door, [chelsea, small]));
});

test.each(doorsWith('several', 'partial'))('%s answers the good images beside a bad one', async (_, door) => {
  const [caption] = await expectedAnswer(door, [chelsea]);
  expect(await ask(door, { images: ['####', chelsea] })).toEqual(['', caption]);
});

test.each(doorsWith('model'))('%s does not find a model that is not served', async (_, door) => {
  expect(await ask(door, { images: [small], model: 'other' })).toBe('NOT_FOUND');
});

test.each(doorsWith('token'))('%s refuses a request without a valid token', async (_, door) => {
  expect(await ask(door, { images: [small], token: '' })).toBe('UNAUTHORIZED');
  expect(await ask(door, { images: [small], token: 'other' })).toBe('UNAUTHORIZED');
});

test.each(doorsWith('limit'))('%s refuses a body that is too large', async (_, door) => {
  expect(await ask(door, { images: [`data:;base64,${'A'.repeat(1_600_000)}`] })).toBe('PAYLOAD_TOO_LARGE');
});
