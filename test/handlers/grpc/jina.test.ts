import { readFileSync } from 'node:fs';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { describe, expect, onTestFinished, test } from 'vitest';
import { imagePath, requestPath } from '../../support/goldens.ts';
import { expectStatus, methodOf } from '../../support/grpc.ts';
import { dataUri } from '../../support/server.ts';
import { doorsForTest, withDoors } from '../../support/with-server.ts';

/** What Jina's client sends, as it was recorded, and what else its messages can have. */

const doors = withDoors();

interface RecordedCall {
  readonly method: string;
  readonly request: string;
}

const recorded: readonly RecordedCall[] = JSON.parse(readFileSync(requestPath('jina-client'), 'utf8'));
const blob = readFileSync(imagePath('small'));

function recordedBytes(method: string): Buffer {
  const found = recorded.find((each) => each.method === method);
  if (found === undefined) throw new Error(`Expected a recorded call of ${method}, got none.`);
  return Buffer.from(found.request, 'base64');
}

interface Value {
  readonly stringValue?: string;
  readonly numberValue?: number;
}

interface Document {
  readonly id: string;
  readonly blob?: Buffer;
  readonly tags: { readonly fields: Readonly<Record<string, Value>> };
}

interface Answer {
  readonly header: {
    readonly request_id: string;
    readonly exec_endpoint: string;
    readonly status: { readonly code: string; readonly description: string; readonly exception: object | null };
  };
  readonly data: { readonly docs: { readonly docs: readonly Document[] } };
}

/** Sends messages as they are through JinaRPC.Call, and returns the answers as they came. */
async function streamRaw(messages: readonly Buffer[]): Promise<readonly Buffer[]> {
  const client = new Client(`127.0.0.1:${doors.grpc.port}`, credentials.createInsecure());
  onTestFinished(() => client.close());
  const asIs = (bytes: Buffer) => bytes;
  const call = client.makeBidiStreamRequest('/jina.JinaRPC/Call', asIs, asIs, new Metadata());
  for (const message of messages) call.write(message);
  call.end();
  return (await call.toArray()) as Buffer[]; // Nothing decodes them.
}

const read = (bytes: Buffer) => methodOf('jina.JinaRPC', 'Call').responseDeserialize(bytes) as unknown as Answer; // Its message.

const single = (request: object) =>
  doors.client.call<Answer>('process_single_data', request, { service: 'jina.JinaSingleDataRequestRPC' });

const dataOf = (...docs: readonly object[]) => ({ docs: { docs } });
const tagsOf = (prompt: Value) => ({ fields: { prompt } });
const tagValues = ({ tags }: Document) =>
  Object.fromEntries(
    Object.entries(tags.fields).map(([name, value]) => [name, value.stringValue ?? value.numberValue]),
  );

describe('what the client sent', () => {
  test('in a stream is answered in its tags; documents and header come back as they were', async () => {
    const sent = recordedBytes('/jina.JinaRPC/Call');
    const [bytes = Buffer.alloc(0)] = await streamRaw([sent]);
    const { header, data } = read(bytes);
    expect(header).toMatchObject({ request_id: read(sent).header.request_id, exec_endpoint: '/' });
    expect(header.status).toMatchObject({ code: 'SUCCESS', description: '' });
    const [one, two, three] = data.docs.docs;
    const inputs = { img_url: blob, text: 'a picture of', max_new_tokens: 4 };
    const { generated_output } = await doors.model.infer(inputs);
    expect(one === undefined ? {} : tagValues(one)).toEqual({
      prompt: 'a picture of',
      page: 7,
      response: generated_output,
      score: expect.any(Number),
    });
    expect(one?.blob).toEqual(blob);
    const embedding = Buffer.from(new Float64Array([1, 1]).buffer); // A field that the server does not know.
    expect(bytes.includes(embedding)).toBe(true);
    expect(two === undefined ? {} : tagValues(two)).toEqual({
      prompt: 'a',
      error: expect.stringMatching(/^IMAGE_SOURCE_INVALID: .*reads no paths/),
    });
    expect(three === undefined ? {} : tagValues(three)).toEqual({
      error: expect.stringMatching(/^INVALID_INPUT: .*tensor.*load_uri_to_blob/),
    });
  });

  test('as a single request, with the prompt as text', async () => {
    const service = 'jina.JinaSingleDataRequestRPC';
    const bytes = recordedBytes(`/${service}/process_single_data`);
    const answer = (await doors.client.callRaw('process_single_data', bytes, { service })) as unknown as Answer; // Its message.
    const { generated_output } = await doors.model.infer({ img_url: blob, text: 'a picture of' });
    expect(answer.data.docs.docs.map(tagValues)).toEqual([{ response: generated_output, score: expect.any(Number) }]);
  });

  test('to learn whether the service is ready', async () => {
    const service = 'jina.JinaGatewayDryRunRPC';
    const ready = await doors.client.callRaw('dry_run', recordedBytes(`/${service}/dry_run`), { service });
    expect(ready).toMatchObject({ code: 'SUCCESS' });
    const starting = await doorsForTest({}, { initialize: false });
    expect(await starting.client.call('dry_run', {}, { service })).toMatchObject({
      code: 'ERROR',
      description: expect.stringMatching(/^NOT_READY: /),
    });
  });
});

describe('a request that fails', () => {
  test('has the error in its header, and the stream goes on', async () => {
    const request = (changes: object) =>
      methodOf('jina.JinaRPC', 'Call').requestSerialize({
        header: { request_id: 'mine', exec_endpoint: '/' },
        data: dataOf({ id: 'one', uri: dataUri('small') }),
        ...changes,
      });
    const answers = await streamRaw([
      request({ parameters: { fields: { tokens: { numberValue: 1 } } } }),
      Buffer.from([0xff]),
      request({ header: { exec_endpoint: '/other' } }),
      request({ header: { target_executor: 'other' } }),
      request({ data: { docs_bytes: Buffer.from('pickle') } }),
      request({ data: dataOf({ uri: 'cat.png' }) }),
      request({ header: { exec_endpoint: '/captioning' } }),
    ]);
    const statuses = answers.map((answer) => read(answer).header.status);
    const error = (code: string) => ({
      code: 'ERROR',
      description: expect.stringMatching(`^${code}: Expected |^${code}: Request for`),
      exception: { name: code, args: [expect.any(String)], executor: 'blip-handler' },
    });
    expect(statuses).toEqual([
      error('INVALID_INPUT'),
      error('INVALID_REQUEST'),
      error('NOT_FOUND'),
      error('NOT_FOUND'),
      error('INVALID_REQUEST'),
      error('IMAGE_SOURCE_INVALID'),
      { code: 'SUCCESS', description: '', exception: null },
    ]);
    expect(read(answers[0] ?? Buffer.alloc(0))).toMatchObject({
      header: { request_id: 'mine' },
      data: dataOf({ id: 'one', uri: dataUri('small') }),
    });
  });

  test('alone has a status where the client may repeat it, else the same header', async () => {
    const { header } = await single({ data: dataOf({ uri: 'cat.png' }) });
    expect(header.status).toMatchObject({ code: 'ERROR', exception: { name: 'IMAGE_SOURCE_INVALID' } });
    const starting = await doorsForTest({}, { initialize: false });
    const called = { service: 'jina.JinaSingleDataRequestRPC' };
    const early = starting.client.call('process_single_data', { data: dataOf({ blob }) }, called);
    await expectStatus(early, 'UNAVAILABLE', 'NOT_READY');
  });

  test.each([
    ['a prompt that is a number', { blob, tags: tagsOf({ numberValue: 2 }) }, /^INVALID_INPUT: .*tag prompt/],
    ['no image', { tags: tagsOf({ stringValue: 'a' }) }, /^INVALID_INPUT: .*blob or uri/],
  ])('says so for %s', async (_what, document, message) => {
    const { header } = await single({ data: dataOf(document) });
    expect(header.status.description).toMatch(message);
  });
});

test('an earlier answer among the tags is replaced', async () => {
  const fields = { response: { stringValue: 'old' }, error: { stringValue: 'old' }, other: { stringValue: 'kept' } };
  const answer = await single({ data: dataOf({ blob, tags: { fields } }) });
  const [tags = {}] = answer.data.docs.docs.map(tagValues);
  expect(Object.keys(tags).toSorted()).toEqual(['other', 'response', 'score']);
  expect(tags['response']).not.toBe('old');
});

test.each([{}, { listValue: { values: [{}] } }, { numberValue: Number.NaN }])(
  'a tag without a value that JSON has, %j, harms nothing else',
  async (odd) => {
    const answer = single({ data: dataOf({ blob, tags: { fields: { odd } } }) });
    const outcome = await answer.then(
      ({ header }) => header.status.code,
      ({ code }) => code,
    );
    expect(['SUCCESS', 3]).toContain(outcome);
  },
);

test('a request without documents comes back', async () => {
  const { header, data } = await single({});
  expect(header.status.code).toBe('SUCCESS');
  expect(data.docs.docs).toEqual([]);
});

test('gateways learn the endpoints and the version', async () => {
  const discovered = await doors.client.call('endpoint_discovery', {}, { service: 'jina.JinaDiscoverEndpointsRPC' });
  expect(discovered).toEqual({ endpoints: ['/', '/captioning'] });
  const { jina } = await doors.client.call('_status', {}, { service: 'jina.JinaInfoRPC' });
  expect(jina).toEqual({ 'blip-handler': expect.stringMatching(/^\d+\.\d+\.\d+/) });
});

test('only methods that ask a model need a token', async () => {
  const guarded = await doorsForTest({ apiTokens: ['one'] });
  const called = { service: 'jina.JinaSingleDataRequestRPC' };
  const refused = guarded.client.call('process_single_data', { data: dataOf({ blob }) }, called);
  await expectStatus(refused, 'UNAUTHENTICATED', 'UNAUTHORIZED');
  const open = await guarded.client.call('dry_run', {}, { service: 'jina.JinaGatewayDryRunRPC' });
  expect(open).toMatchObject({ code: 'SUCCESS' });
});
