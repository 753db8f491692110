import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { createServer } from '../../../handlers/http/server.ts';
import { dataUri, expectError, INFER_PATH, outputOf, postInference, readAnswer } from '../../support/server.ts';
import { withServer } from '../../support/with-server.ts';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
type Path = readonly (string | number)[];

/** A request that must be refused. */
interface Malformed {
  readonly title: string;
  readonly body: string | Uint8Array;
}

const image = dataUri('small');
const imageTensor = { name: 'img_url', shape: [1], datatype: 'BYTES', data: [image] };

/** A good request, with a value at every place that a request has. */
const good = {
  id: 'good',
  parameters: { num_beams: 2 },
  inputs: [
    imageTensor,
    { name: 'text', shape: [1], datatype: 'BYTES', data: ['a picture of'] },
    { name: 'max_new_tokens', shape: [1], datatype: 'INT64', data: [3] },
  ],
  outputs: [{ name: 'generated_output' }],
} satisfies Json;
const goodText = JSON.stringify(good);

const generator = xoroshiro128plus(20_261_121);
const randomBelow = (end: number) => uniformInt(generator, 0, end - 1);

const server = withServer({ maxBatchSize: 1, batchWindowMs: 0 });
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
afterAll(() => void agent.destroy());

let refused = 0;

afterEach(async () => {
  const answer = readAnswer(await postInference(server.url, good));
  expect(outputOf(answer, 'generated_output').data, 'the answer to a good request afterwards').toEqual([
    expect.stringMatching(/^a picture of/),
  ]);
  expect(Object.keys(Object.getPrototypeOf({})), 'keys that every object has').toEqual([]);
});

/** Sends all requests. Each must be refused, with a message. */
async function expectRefused(requests: readonly Malformed[]): Promise<void> {
  const answers = await Promise.all(
    requests.map(async ({ title, body }) => {
      const { status, headers, text } = await postInference(server.url, body, { agent });
      const isRefusal = status >= 400 && status <= 499 && headers['content-type'] === 'application/json';
      return isRefusal && hasError(text) ? undefined : { title, status, text: text.slice(0, 300) };
    }),
  );
  expect(answers.filter((answer) => answer !== undefined)).toEqual([]);
  refused += requests.length;
}

/** An error in the form of the protocol, whose message does not repeat the request. */
function hasError(text: string): boolean {
  const { error, code } = JSON.parse(text);
  return typeof error === 'string' && error !== '' && error.length < 1_000 && typeof code === 'string';
}

/** A copy of `value` with the part at `path` replaced, or removed where there is no replacement. */
function change(value: Json, path: Path, replacement: Json | undefined): Json {
  const [key, ...rest] = path;
  if (key === undefined) return replacement ?? null;
  const copy = structuredClone(value) as Record<string | number, Json>; // Paths lead through objects and lists only.
  if (rest.length === 0 && replacement === undefined) delete copy[key];
  else copy[key] = change(copy[key] ?? null, rest, replacement);
  return copy;
}

function changed(path: Path, replacement: Json | undefined): Malformed {
  const title = `${path.join('.')} = ${JSON.stringify(replacement)?.slice(0, 60)}`;
  return { title, body: JSON.stringify(change(good, path, replacement)) };
}

function raw(body: string): Malformed {
  return { title: body.slice(0, 60), body };
}

/** The good request with one more tensor, given as JSON text. */
function withTensorText(tensor: string): Malformed {
  return { title: tensor.slice(0, 80), body: goodText.replace('"inputs":[', `"inputs":[${tensor},`) };
}

/** The good request with other parameters, given as JSON text. */
function withParametersText(parameters: string): Malformed {
  return { title: parameters.slice(0, 80), body: goodText.replace('{"num_beams":2}', parameters) };
}

function typeOf(value: Json): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'list' : typeof value;
}

describe('text that is not JSON', () => {
  test('truncations of a good request', async () => {
    const ends = Array.from({ length: 60 }, () => randomBelow(goodText.length));
    await expectRefused([
      ...ends.map((end) => ({ title: `first ${end} characters`, body: goodText.slice(0, end) })),
      { title: 'all but the last character', body: goodText.slice(0, -1) },
      ...ends.slice(0, 20).map((start) => ({ title: `from ${start + 1}`, body: goodText.slice(start + 1) })),
    ]);
  });

  test('a control character somewhere in a good request', async () => {
    const offsets = Array.from({ length: 40 }, () => randomBelow(goodText.length - 1) + 1);
    const character = () => String.fromCharCode([0, 1, 7, 11, 27, 31][randomBelow(6)] ?? 0);
    await expectRefused(
      offsets.map((offset) => ({
        title: `control character at ${offset}`,
        body: goodText.slice(0, offset) + character() + goodText.slice(offset),
      })),
    );
  });

  test('other notations', async () => {
    await expectRefused(
      [
        '{',
        '[',
        '"',
        'nul',
        'undefined',
        'NaN',
        '-Infinity',
        '{]',
        "{'inputs': []}",
        '{inputs: []}',
        '{"inputs": [],}',
        '{"inputs": [1,]}',
        '{"inputs" []}',
        '// comment\n{}',
        '{} /* comment */',
        '{"inputs": []} {"inputs": []}',
        `${goodText}${goodText}`,
        `${goodText},`,
        `data: ${goodText}\n\n`,
        'inputs=img_url&data=1',
        '<inputs/>',
        '--boundary\r\ncontent-disposition: form-data; name="inputs"\r\n\r\n1\r\n--boundary--',
        '\\ud800',
        '{"\\u12"}',
        '{"inputs":"\\x41"}',
      ].map(raw),
    );
  });

  test('other encodings', async () => {
    const invalid = (...values: number[]) => {
      const [before = '', after = ''] = goodText.split('a picture of');
      return Buffer.concat([Buffer.from(before), Buffer.from(values), Buffer.from(after)]);
    };
    await expectRefused([
      { title: 'UTF-16', body: Buffer.from(goodText, 'utf16le') },
      { title: 'all bytes', body: Buffer.from(Array.from({ length: 256 }, (_, value) => value)) },
      { title: 'zeros', body: Buffer.alloc(1_000) },
      { title: 'a byte that UTF-8 never has', body: invalid(0xff) },
      { title: 'Latin-1', body: invalid(0x63, 0x61, 0x66, 0xe9) },
      { title: 'an overlong sequence', body: invalid(0xc0, 0xaf) },
      { title: 'a surrogate in UTF-8', body: invalid(0xed, 0xa0, 0x80) },
      { title: 'half a character', body: invalid(0xf0, 0x9f, 0x90) },
      { title: 'beyond Unicode', body: invalid(0xf4, 0x90, 0x80, 0x80) },
    ]);
  });
});

describe('JSON that is not a request', () => {
  test('other values at the top', async () => {
    await expectRefused(
      ['', ' ', 'null', 'true', 'false', '0', '-1.5e3', '""', '"inputs"', '[]', '{}', '[[]]', `[${goodText}]`].map(raw),
    );
  });

  const places: readonly Path[] = [
    ['id'],
    ['parameters'],
    ['parameters', 'num_beams'],
    ['inputs'],
    ...[0, 1, 2].flatMap((index) => [
      ['inputs', index],
      ...['name', 'shape', 'datatype', 'data'].map((key) => ['inputs', index, key]),
      ['inputs', index, 'shape', 0],
      ['inputs', index, 'data', 0],
    ]),
    ['outputs'],
    ['outputs', 0],
    ['outputs', 0, 'name'],
  ];
  const values: readonly Json[] = [null, true, false, 0, -1, 1.5, '', 'x', [], {}, [[]], { length: 1 }];

  function valueAt(path: Path): Json {
    return path.reduce<Json>((value, key) => (value as Record<string | number, Json>)[key] ?? null, good);
  }

  /** Null is as absent where a value may be absent. */
  const optional: readonly Path[] = [
    ['id'],
    ['parameters'],
    ['parameters', 'num_beams'],
    ['outputs'],
    ...[1, 2].flatMap((index) => [
      ['inputs', index, 'data'],
      ['inputs', index, 'data', 0],
    ]),
  ];
  const isAllowed = (path: Path, value: Json) =>
    typeOf(value) === typeOf(valueAt(path)) || (value === null && optional.some((each) => each.join() === path.join()));

  test('values of another type at every place', async () => {
    const requests = places.flatMap((path) =>
      values.filter((value) => !isAllowed(path, value)).map((value) => changed(path, value)),
    );
    expect(requests.length).toBeGreaterThan(150);
    await expectRefused(requests);
  });

  test('several wrong values at once', async () => {
    const requests = Array.from({ length: 60 }, (_, index) => {
      const path = places[randomBelow(places.length)] ?? [];
      const wrong = values.filter((value) => !isAllowed(path, value));
      // The key `model_name` has no effect: it must not excuse the other values.
      const body = change(good, ['model_name'], values[randomBelow(values.length)] ?? null);
      return {
        title: `${index}: ${path.join('.')}`,
        body: JSON.stringify(change(body, path, wrong[randomBelow(wrong.length)] ?? null)),
      };
    });
    await expectRefused(requests);
  });

  test('missing keys', async () => {
    await expectRefused([
      changed(['inputs'], undefined),
      ...[0, 1, 2].flatMap((index) =>
        ['name', 'shape', 'datatype', 'data'].map((key) => changed(['inputs', index, key], undefined)),
      ),
      changed(['outputs', 0, 'name'], undefined),
      changed(['inputs', 0], { ...good.inputs[1], name: 'text' }),
      changed(['inputs'], good.inputs.slice(1)),
    ]);
  });

  test('unknown names', async () => {
    const names = ['', 'image', 'IMG_URL', ' img_url', 'img_url\0', '__proto__', 'constructor', 'toString', 'length'];
    const unknown = [...names, 'hasOwnProperty', '0', '\ud800', 'img_url\udfff', 'ﬁ', 'x'.repeat(1_000_000)];
    await expectRefused([
      ...unknown.map((name) => changed(['inputs', 1, 'name'], name)),
      ...unknown.map((name) => changed(['outputs', 0, 'name'], name)),
      ...[...unknown, 'bytes', 'FLOAT', 'INT', 'FP8', 'BYTES '].map((name) => changed(['inputs', 0, 'datatype'], name)),
    ]);
  });

  test('datatypes that an input cannot have', async () => {
    await expectRefused([
      ...['INT64', 'FP32', 'BOOL', 'UINT8'].map((datatype) => changed(['inputs', 0, 'datatype'], datatype)),
      ...['BYTES', 'STRING', 'FP32', 'BOOL'].map((datatype) => changed(['inputs', 2, 'datatype'], datatype)),
    ]);
  });

  test('repeated names', async () => {
    await expectRefused([
      changed(['inputs', 1], imageTensor),
      changed(['inputs'], [...good.inputs, ...good.inputs]),
      changed(['outputs'], [...good.outputs, ...good.outputs]),
    ]);
  });

  test('names of properties that every object has', async () => {
    const tensor = JSON.stringify(imageTensor);
    await expectRefused([
      raw(`{"__proto__":${goodText}}`),
      raw(`{"constructor":{"prototype":${goodText}}}`),
      raw(`{"inputs":[{"__proto__":${tensor}}]}`),
      raw(`{"inputs":{"__proto__":[],"length":1,"0":${tensor}}}`),
      raw(`{"inputs":[${tensor}],"outputs":[{"__proto__":{"name":"generated_output"}}]}`),
      withTensorText('{"name":"__proto__","shape":[1],"datatype":"BYTES","data":["x"]}'),
      withTensorText('{"name":"constructor","shape":[1],"datatype":"BYTES","data":["x"]}'),
      withTensorText('{"name":"num_beams","shape":[1],"datatype":"__proto__","data":[1]}'),
      withTensorText('{"name":"num_beams","shape":{"__proto__":[1]},"datatype":"INT64","data":[1]}'),
      withTensorText('{"name":"num_beams","shape":[1],"datatype":"INT64","data":[{"__proto__":1}]}'),
      withParametersText('{"__proto__":{"num_beams":2}}'),
      withParametersText('{"constructor":{"prototype":{"polluted":true}}}'),
    ]);
  });
});

describe('tensors that do not fit', () => {
  test('shapes that do not fit the data', async () => {
    const shapes: readonly Json[] = [[0], [2], [1, 2], [1, 0], [-1], [-1, -1], [1.5], [1e308], [2 ** 53], [2 ** 63]];
    const more: readonly Json[] = [
      ['1'],
      [null],
      [true],
      [[1]],
      '-1',
      '1',
      1,
      { 0: 1 },
      [4_294_967_296, 4_294_967_296],
    ];
    await expectRefused([...shapes, ...more].map((shape) => changed(['inputs', 0, 'shape'], shape)));
  });

  test('a very long list of dimensions', async () => {
    await expectRefused([
      changed(['inputs', 0, 'shape'], [...Array.from({ length: 100_000 }, () => 1), 2]),
      changed(
        ['inputs', 0, 'shape'],
        Array.from({ length: 100_000 }, () => 2),
      ),
    ]);
  });

  test('data of another number or type', async () => {
    const data: readonly Json[] = [[], [image, image], [[image], [image]], [[]], [[[]]], [null], [1]];
    const more: readonly Json[] = [[{}], [{ b64: image }], image, { 0: image }, [[image, 1]], [true], [image, null]];
    await expectRefused([
      ...[...data, ...more].map((value) => changed(['inputs', 0, 'data'], value)),
      withTensorText('{"name":"num_beams","shape":[2],"datatype":"INT64","data":[2,2]}'),
      withTensorText('{"name":"seed","shape":[0],"datatype":"INT64","data":[]}'),
    ]);
  });

  test('nesting deeper than any tensor', async () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
    const objects = (depth: number) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;
    const tensor = (data: string) => `{"name":"num_beams","shape":[1],"datatype":"INT64","data":${data}}`;
    await expectRefused([
      raw('['.repeat(250_000)),
      raw(nested(250_000)),
      raw('{"a":'.repeat(250_000)),
      raw(objects(250_000)),
      raw(`{"inputs":${nested(250_000)}}`),
      raw(`{"inputs":[${objects(250_000)}]}`),
      withTensorText(tensor(nested(250_000))),
      withTensorText(tensor(`${'['.repeat(250_000)}2${']'.repeat(250_000)}`)),
      withTensorText(tensor(`${'['.repeat(101)}2${']'.repeat(101)}`)),
      withTensorText(tensor(`[${objects(250_000)}]`)),
      withParametersText(`{"num_beams":${nested(250_000)}}`),
      changed(['id'], { a: [] }),
    ]);
  });

  test('very long strings', async () => {
    const length = 1_000_000;
    await expectRefused([
      changed(['inputs', 0, 'data', 0], 'x'.repeat(length)),
      changed(['inputs', 0, 'data', 0], '!'.repeat(length)),
      changed(['inputs', 0, 'data', 0], `http://127.0.0.1:1/${'x'.repeat(length)}`),
      changed(['inputs', 0, 'data', 0], `http://${'x'.repeat(length)}`),
      changed(['inputs', 0, 'data', 0], `data:${'x'.repeat(length)}`),
      changed(['inputs', 0, 'data', 0], `data:;base64,${'%'.repeat(length)}`),
      changed(['inputs', 0, 'data', 0], `data:,${'%'.repeat(length)}`),
      changed(['inputs', 1, 'data', 0], 'dog '.repeat(10_000)),
      changed(['parameters', 'x'.repeat(length)], {}),
      withTensorText(`{"name":"early_stopping","shape":[1],"datatype":"BYTES","data":["${'x'.repeat(length)}"]}`),
    ]);
  });

  test('very long white space before a character that base64 does not have', async () => {
    const startMs = performance.now();
    await expectRefused([changed(['inputs', 0, 'data', 0], `A${' '.repeat(100_000)}!`)]);
    expect(performance.now() - startMs).toBeLessThan(2_000);
  });

  test('halves of characters', async () => {
    await expectRefused([
      changed(['inputs', 0, 'data', 0], '\ud800'),
      changed(['inputs', 0, 'data', 0], 'http://127.0.0.1:1/\udc00'),
      changed(['inputs', 0, 'data', 0], 'http://\ud83d/'),
      changed(['inputs', 0, 'data', 0], 'data:;base64,\ud800'),
      changed(['inputs', 0, 'data', 0], 'data:,\udfff'),
      changed(['inputs', 0, 'datatype'], 'BYTES\ud800'),
    ]);
  });
});

describe('invalid numbers, and numbers that are too large or too small', () => {
  const integers = ['max_new_tokens', 'min_new_tokens', 'num_beams', 'num_return_sequences', 'no_repeat_ngram_size'];
  const floats = ['length_penalty', 'repetition_penalty', 'temperature', 'top_p'];
  const tensor = (name: string, datatype: string, value: string) =>
    withTensorText(`{"name":"${name}","shape":[1],"datatype":"${datatype}","data":[${value}]}`);
  /** Without the good request's own max_new_tokens, so that it comes once. */
  const once = ({ title, body }: Malformed): Malformed => ({
    title,
    body: String(body).replace(',{"name":"max_new_tokens","shape":[1],"datatype":"INT64","data":[3]}', ''),
  });
  const invalid = ['01', '+1', '1.', '.5', '0x10', '1_000', 'NaN', 'Infinity', '1n', '--1', '1e', '"1"', '{}'];

  test.each([...integers, 'top_k', 'seed'])('for the whole number %s', async (name) => {
    const numbers = ['-1', '-9e99', '1.5', '1e-9', '1e999', '-1e999', '1e308', '9223372036854775808', '"NaN"', '[]'];
    await expectRefused([
      ...[...invalid, ...numbers].map((value) => once(tensor(name, 'INT64', value))),
      ...numbers.map((value) => once(withParametersText(`{"${name}":${value}}`))),
    ]);
  });

  test.each(floats)('for the number %s', async (name) => {
    const numbers = ['1e999', '-1e999', '1e308', '-1e308', '101', '"NaN"', '"Infinity"', '[]', 'true'];
    await expectRefused([
      ...[...invalid, ...numbers].map((value) => tensor(name, 'FP32', value)),
      ...numbers.map((value) => withParametersText(`{"${name}":${value}}`)),
    ]);
  });

  test('for booleans', async () => {
    const switches = ['0', '1', '"true"', '[]', '"yes"'];
    const choices = ['0', '1', '"True"', '"sometimes"'];
    await expectRefused([
      ...switches.map((value) => tensor('do_sample', 'BOOL', value)),
      ...switches.map((value) => withParametersText(`{"do_sample":${value}}`)),
      ...choices.map((value) => tensor('early_stopping', 'BYTES', value)),
      ...choices.map((value) => withParametersText(`{"early_stopping":${value}}`)),
    ]);
  });
});

describe('malformed HTTP', () => {
  /** Everything that the server sends on a connection until it closes it. */
  async function exchange(text: string, url = server.url): Promise<string> {
    const socket = net.connect(Number(new URL(url).port), '127.0.0.1');
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk;
    });
    socket.on('error', () => undefined); // The server may close while we still write.
    socket.write(text);
    await once(socket, 'close');
    return answer;
  }

  test.each([
    ['no request at all', 'HELLO\r\n\r\n'],
    ['an unknown method', `BREW ${INFER_PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`],
    ['an unknown version', `POST ${INFER_PATH} HTTP/7.7\r\nhost: localhost\r\n\r\n`],
    ['headers without end', `GET /v2 HTTP/1.1\r\nhost: localhost\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`],
    ['a length that is none', `POST ${INFER_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: many\r\n\r\n`],
    ['a negative length', `POST ${INFER_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n`],
    [
      'a length and chunks',
      `POST ${INFER_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      'a chunk that is none',
      `POST ${INFER_PATH} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n`,
    ],
  ])('%s', async (_, text) => {
    const answer = await exchange(text);
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
    const [head = '', body = ''] = answer.split('\r\n\r\n');
    expect(head.toLowerCase()).toMatch(/^content-type: application\/json\r?$/m);
    expect(JSON.parse(body)).toEqual({ error: expect.stringMatching(/\S/), code: expect.stringMatching(/^[A-Z_]+$/) });
  });

  const pending = 'host: localhost\r\nconnection: close\r\ncontent-length: 5000000\r\n\r\n';

  test.each([
    ['POST /nothing', 404],
    ['POST /v2', 405],
    [`PUT ${INFER_PATH}`, 405],
    ['POST /v2/repository/index', 413],
  ])('%s is refused with %d before its body, which never comes', async (line, status) => {
    expect(await exchange(`${line} HTTP/1.1\r\n${pending}`)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  });

  test.each([
    ['a long head', `GET /v2 HTTP/1.1\r\nhost: localhost\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`, 'at most 16384 bytes'],
    ['no HTTP', 'HELLO\r\n\r\n', 'does not parse'],
  ])('is refused with the part that does not parse: %s', async (_, text, words) => {
    expect(await exchange(text)).toContain(words);
  });

  test.each([
    ['a head', 'GET /v2 HTTP/1.1\r\nhost: localhost\r\n'],
    ['a body', 'POST /v2/repository/index HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{'],
  ])('is refused when %s does not arrive in time', async (_, text) => {
    const impatient = createServer([server.model], server.settings);
    Object.assign(impatient.server, { headersTimeout: 100, requestTimeout: 200, connectionsCheckingInterval: 20 });
    const answer = await exchange(text, await impatient.listen({ host: '127.0.0.1', port: 0 }));
    await impatient.close();
    expect(answer).toMatch(/^HTTP\/1\.1 408 .*in time.*REQUEST_TIMEOUT/s);
  });

  test('is refused by Node where it has no host', async () => {
    expect(await exchange('GET /v2 HTTP/1.1\r\nconnection: close\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
  });

  test('a client that disconnects in the middle of its body does no harm', async () => {
    const socket = net.connect(Number(new URL(server.url).port), '127.0.0.1');
    socket.write(`POST ${INFER_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{"inputs":[`);
    await once(socket, 'connect');
    socket.destroy();
    await once(socket, 'close');
    expectError(await postInference(server.url, '{'), 400, 'INVALID_REQUEST');
  });
});

test('hundreds of requests were refused', () => {
  expect(refused).toBeGreaterThan(600);
});
