import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { shippedFile } from '../../../../shipped-files.ts';
import { requestPath } from '../../../support/goldens.ts';
import { rawBytes } from '../../../support/grpc.ts';
import {
  dataUri,
  expectError,
  INFER_PATH,
  outputOf,
  postInference,
  readAnswer,
  send,
} from '../../../support/server.ts';
import { withServer } from '../../../support/with-server.ts';

/** Requests of public reports, which test/fixtures/requests lists, to the checkpoint that ships. */

const server = withServer({ checkpoint: shippedFile('checkpoints/scenes-captioning') });

const read = (name: Parameters<typeof requestPath>[0]) => readFileSync(requestPath(name), 'utf8');
const generate = (body: string) =>
  send(server.url, { method: 'POST', path: INFER_PATH.replace('infer', 'generate'), body });

test('a data: URI with a space before base64, and nulls, are as their plain forms', async () => {
  for (const name of ['space-before-base64', 'nulls'] as const) {
    const answer = readAnswer(await postInference(server.url, read(name)));
    expect(outputOf(answer, 'generated_output').data).toEqual(['two cats on a yellow background']);
  }
});

test('base64 whose plus signs became spaces is told of', async () => {
  const { error } = expectError(await postInference(server.url, read('plus-as-space')), 400, 'IMAGE_SOURCE_INVALID');
  expect(error).toContain('spaces where + was');
});

/** transformers 5.18 with this checkpoint and picture: `generate(max_length=5)`, and `generate(max_new_tokens=5)`. */
test('max_length counts the start token', async () => {
  const body = JSON.parse(read('max-length'));
  expect(JSON.parse((await generate(JSON.stringify(body))).text).generated_output).toBe('two cats on a');
  const { max_length: length, ...plain } = body;
  const newTokens = JSON.stringify({ ...plain, max_new_tokens: length });
  expect(JSON.parse((await generate(newTokens)).text).generated_output).toBe('two cats on a yellow');
  const both = JSON.stringify({ ...body, max_new_tokens: 3 });
  expect(JSON.parse((await generate(both)).text).generated_output).toBe('two cats on');
});

test("LAVIS's names are understood, and not beside our own", async () => {
  const ask = (parameters: object) => generate(JSON.stringify({ img_url: dataUri('small'), ...parameters }));
  const three = JSON.parse((await ask({ num_captions: 3, num_beams: 3 })).text);
  expect(three).toEqual(JSON.parse((await ask({ num_return_sequences: 3, num_beams: 3 })).text));
  const drawn = JSON.parse((await ask({ use_nucleus_sampling: true, seed: 7, temperature: 3 })).text);
  expect(drawn).toEqual(JSON.parse((await ask({ do_sample: true, top_p: 0.9, seed: 7, temperature: 3 })).text));
  const own = JSON.parse((await ask({ use_nucleus_sampling: true, top_p: 1, seed: 7, temperature: 3 })).text);
  expect(own).toEqual(JSON.parse((await ask({ do_sample: true, seed: 7, temperature: 3 })).text));
  expect((await ask({ use_nucleus_sampling: false })).status).toBe(200);
  expectError(await ask({ num_captions: 2, num_return_sequences: 2, num_beams: 2 }), 400, 'INVALID_PARAMETER');
  expectError(await ask({ num_captions: 0 }), 400, 'INVALID_INPUT');
});

test('BYTES that are not UTF-8 are told of, and NUL characters of C are no harm', async () => {
  const ask = (texts: readonly Uint8Array[]) => {
    const sections = [rawBytes([dataUri('small')]), rawBytes(texts)];
    const json = Buffer.from(
      JSON.stringify({
        inputs: ['img_url', 'text'].map((name, index) => ({
          name,
          datatype: 'BYTES',
          shape: [1],
          parameters: { binary_data_size: sections[index]?.length },
        })),
      }),
    );
    const headers = { 'inference-header-content-length': String(json.length) };
    return postInference(server.url, Buffer.concat([json, ...sections]), { headers });
  };
  for (const text of [Buffer.from('caf\xe9', 'latin1'), Buffer.from('\ufeffa dog', 'utf16le'), Buffer.from([0xff])]) {
    const { error } = expectError(await ask([text]), 400, 'INVALID_INPUT');
    expect(error).toBe(`Expected text[0] to be string, got ${text.length} bytes that are no text in UTF-8.`);
  }
  const plain = outputOf(readAnswer(await ask([Buffer.from('a picture of')])), 'generated_output').data;
  const ended = outputOf(readAnswer(await ask([Buffer.from('a picture of\0')])), 'generated_output').data;
  expect(ended).toEqual(plain);
});

test('half of a character in JSON is told of', async () => {
  for (const text of ['a \\ud800', '\\udc00 dog', '\\ud83d\\ud83d'])
    expect(
      expectError(await generate(`{"img_url": "${dataUri('small')}", "text": "${text}"}`), 400, 'INVALID_INPUT').error,
    ).toContain('half of a character');
});
