import { expect, test } from 'vitest';
import { dataUri, expectError, INFER_PATH, send } from '../../../support/server.ts';
import { withServer } from '../../../support/with-server.ts';

/** Inputs and parameters that stand in the query of a path that reads them in the body. */

const server = withServer();
const post = (path: string, body: object) =>
  send(server.url, {
    method: 'POST',
    path,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
const image = dataUri('small');
const bodies: readonly [string, object][] = [
  [INFER_PATH, { inputs: [{ name: 'img_url', shape: [1], datatype: 'BYTES', data: [image] }] }],
  ['/v2/models/captioning/generate', { img_url: image }],
  ['/generate', { img: image }],
  ['/v1/models/captioning:predict', { instances: [{ img_url: image }] }],
  ['/vertex/predict', { instances: [{ img_url: image }] }],
  ['/predictions', { input: { image } }],
  ['/v2/captioning/runsync', { input: { img_url: image } }],
  ['/v2/captioning/run', { input: { img_url: image } }],
];

test.each(bodies)('are refused by name, and names of gateways are not: %s', async (path, body) => {
  for (const query of ['num_beams=3', 'num_beam=3', 'txt=a', 'maxNewTokens=5', 'timeout=1', 'key=a&temperature=2']) {
    const { error } = expectError(await post(`${path}?${query}`, body), 400, 'INVALID_INPUT');
    expect(error).toMatch(/^Expected inputs and parameters in the body, got ".*" in the query\.$/);
  }
  const answer = await post(`${path}?a=b&key=c&api-version=1&code=d&__proto__=e`, body);
  expect(answer.status, answer.text).toBe(200);
});

test('count beside parameters of the body where a platform has them in the query; those of the body win', async () => {
  const ask = async (query: string, parameters: object) => await post(`/${query}`, { inputs: image, parameters });
  const { text } = await ask('', { max_new_tokens: 2, num_return_sequences: 2, num_beams: 2 });
  expect((await ask('?num_beams=2&max_new_tokens=9', { max_new_tokens: 2, num_return_sequences: 2 })).text).toBe(text);
  expectError(await ask('?num_beam=2', { max_new_tokens: 2 }), 400, 'INVALID_INPUT');
});
