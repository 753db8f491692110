import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { checkpointFolder, imagePath } from '../../../support/goldens.ts';
import { type FormPart, multipart } from '../../../support/multipart.ts';
import {
  bytes,
  dataUri,
  expectError,
  type HttpAnswer,
  outputOf,
  postInference,
  readAnswer,
  send,
  startServerOfModels,
} from '../../../support/server.ts';
import { serverForTest, withImageServer, withServer } from '../../../support/with-server.ts';

/** The routes of bentoml/BentoBLIP. Requests are shaped as curl and BentoML's own client send them. */

const chelsea = readFileSync(imagePath('chelsea'));
const file = { filename: 'chelsea.png', 'content-type': 'image/png' };
const imageFile: FormPart = { name: 'img', value: chelsea, ...file };

const server = withServer({ checkpoint: checkpointFolder('narrow-vision') });
const images = withImageServer();

function post(body: string | Uint8Array, contentType?: string, url = server.url): Promise<HttpAnswer> {
  const headers = contentType === undefined ? {} : { 'content-type': contentType };
  return send(url, { method: 'POST', path: '/generate', headers, body });
}

function postForm(parts: readonly FormPart[], url = server.url): Promise<HttpAnswer> {
  const { body, contentType } = multipart(parts);
  return post(body, contentType, url);
}

function postJson(body: unknown, url = server.url): Promise<HttpAnswer> {
  return post(JSON.stringify(body), 'application/json', url);
}

/** The text of a successful answer. */
function textOf(answer: HttpAnswer): string {
  expect(answer, answer.text).toMatchObject({ status: 200, headers: { 'content-type': 'text/plain; charset=utf-8' } });
  return answer.text;
}

/** The caption as the KServe route answers it. */
async function captionOf(text?: string, parameters: object = {}): Promise<string> {
  const inputs = [bytes('img_url', [dataUri('chelsea')]), ...(text === undefined ? [] : [bytes('text', [text])])];
  const answer = readAnswer(await postInference(server.url, { inputs, parameters }));
  return String(outputOf(answer, 'generated_output').data[0]);
}

describe('a caption', () => {
  test('of a file', async () => {
    expect(textOf(await postForm([imageFile]))).toBe(await captionOf());
  });

  test('of a file with a text before it, as curl -F sends both', async () => {
    const caption = await captionOf('a picture of');
    expect(caption).not.toBe(await captionOf());
    expect(textOf(await postForm([{ name: 'txt', value: 'a picture of' }, imageFile]))).toBe(caption);
    expect(textOf(await postForm([imageFile, { name: 'txt', value: 'a picture of' }]))).toBe(caption);
  });

  test('of a file with a text in quotes, as the Python client sends it', async () => {
    expect(textOf(await postForm([{ name: 'txt', value: '"a picture of"' }, imageFile]))).toBe(
      await captionOf('a picture of'),
    );
  });

  test.each(['null', ''])('of a file and no text, written %j', async (value) => {
    expect(textOf(await postForm([{ name: 'txt', value }, imageFile]))).toBe(await captionOf());
  });

  test.each(['7', 'true', '[1', '{"a": 1}', '"'])(
    'of a file with the text %s, which is no quoted text',
    async (value) => {
      expect(textOf(await postForm([{ name: 'txt', value }, imageFile]))).toBe(await captionOf(value));
    },
  );

  test('of a URL in a form, or in quotes', async () => {
    const url = `${images.url}/chelsea.png`;
    for (const value of [url, JSON.stringify(url)])
      expect(textOf(await postForm([{ name: 'img', value }]))).toBe(await captionOf());
  });

  test('of a URL in an urlencoded form, as the Python client sends it', async () => {
    const form = new URLSearchParams({ img: `${images.url}/chelsea.png`, txt: '"a picture of"' });
    const answer = await post(form.toString(), 'application/x-www-form-urlencoded');
    expect(textOf(answer)).toBe(await captionOf('a picture of'));
  });

  test.each(['application/json', 'application/json; charset=utf-8', undefined, 'application/x-www-form-urlencoded'])(
    'of JSON under the content type %s',
    async (contentType) => {
      const img = `${images.url}/chelsea.png`;
      expect(textOf(await post(JSON.stringify({ img }), contentType))).toBe(await captionOf());
      const body = ` ${JSON.stringify({ img: dataUri('chelsea'), txt: 'a picture of' })}`;
      expect(textOf(await post(body, contentType))).toBe(await captionOf('a picture of'));
    },
  );

  test('of base64 in JSON, with no text', async () => {
    expect(textOf(await postJson({ img: chelsea.toString('base64'), txt: null }))).toBe(await captionOf());
  });

  test('with parameters by their names', async () => {
    const caption = await captionOf(undefined, { max_new_tokens: 3, num_beams: 2 });
    const parts = [imageFile, { name: 'max_new_tokens', value: '3' }, { name: 'num_beams', value: '2' }];
    expect(textOf(await postForm(parts))).toBe(caption);
    expect(textOf(await postJson({ img: dataUri('chelsea'), max_new_tokens: 3, num_beams: 2 }))).toBe(caption);
  });

  test('of several for one image: one a line', async () => {
    const lines = textOf(await postJson({ img: dataUri('chelsea'), num_beams: 3, num_return_sequences: 3 })).split(
      '\n',
    );
    expect(lines).toHaveLength(3);
  });

  test('of a body that comes in pieces', async () => {
    const { body, contentType } = multipart([imageFile]);
    const headers = { 'content-type': contentType, 'transfer-encoding': 'chunked' };
    expect(textOf(await send(server.url, { method: 'POST', path: '/generate', headers, body }))).toBe(
      await captionOf(),
    );
  });
});

describe('refused is', () => {
  const { body, contentType } = multipart([{ name: 'txt', value: 'a' }, imageFile]);

  test('a request without a body', async () => {
    expectError(await post(''), 400, 'INVALID_REQUEST');
    expectError(await post('', contentType), 400, 'INVALID_REQUEST');
  });

  test('a request without an image', async () => {
    const { error } = expectError(await postForm([{ name: 'txt', value: 'a' }]), 400, 'INVALID_INPUT');
    expect(error).toContain('img');
    expectError(await postJson({}), 400, 'INVALID_INPUT');
    expectError(await postJson({ img: null }), 400, 'INVALID_INPUT');
    expectError(await post('txt=a', 'application/x-www-form-urlencoded'), 400, 'INVALID_INPUT');
  });

  test('a file that is no image', async () => {
    expectError(await postForm([{ name: 'img', value: Buffer.alloc(0), ...file }]), 400, 'IMAGE_UNSUPPORTED');
    expectError(await postForm([{ name: 'img', value: 'no picture', ...file }]), 400, 'IMAGE_UNSUPPORTED');
    expectError(await postForm([{ name: 'img', value: chelsea.subarray(0, 5000), ...file }]), 400, 'IMAGE_CORRUPT');
    expectError(await postForm([{ name: 'img', value: 'not base64!' }]), 400, 'IMAGE_SOURCE_INVALID');
  });

  test('several images, of which one fails', async () => {
    const sources = [dataUri('chelsea'), 'not base64!'];
    expectError(await postJson({ img_url: sources }), 400, 'IMAGE_SOURCE_INVALID');
    const text = textOf(await postJson({ img_url: [sources[0], sources[0]] }));
    expect(text).toBe(`${await captionOf()}\n${await captionOf()}`);
  });

  test('a URL that the guard blocks', async () => {
    expectError(await postForm([{ name: 'img', value: 'http://169.254.169.254/' }]), 400, 'IMAGE_SOURCE_BLOCKED');
    expectError(await postForm([{ name: 'img', value: 'file:///etc/passwd' }]), 400, 'IMAGE_SOURCE_INVALID');
  });

  test.each([[5], ['text'], [[]], [{ img: 5 }], [{ img: ['a'] }], [{ img: 'a', txt: 5 }], [{ img: {} }]])(
    'the JSON %j',
    async (json) => {
      expectError(await postJson(json), 400, 'INVALID_REQUEST');
    },
  );

  test.each(['foo', '__proto__', 'constructor', 'error'])('the field %s, which no model has', async (name) => {
    const { error } = expectError(await postForm([imageFile, { name, value: 'x' }]), 400, 'INVALID_INPUT');
    expect(error).toContain(name);
  });

  test('a parameter out of its range', async () => {
    expectError(await postForm([imageFile, { name: 'num_beams', value: '0' }]), 400, 'INVALID_INPUT');
    expectError(await postForm([imageFile, { name: 'num_beams', value: 'many' }]), 400, 'INVALID_INPUT');
  });

  test('a repeated name, a second file, a part without a name', async () => {
    expectError(await postForm([imageFile, imageFile]), 400, 'INVALID_REQUEST');
    expectError(await postForm([imageFile, { ...imageFile, name: 'other' }]), 400, 'INVALID_REQUEST');
    expectError(await postForm([imageFile, { name: 'img', value: 'a' }]), 400, 'INVALID_REQUEST');
    expectError(await postForm([imageFile, { name: '', value: 'a' }]), 400, 'INVALID_REQUEST');
    expectError(await post('img=a&img=b', 'application/x-www-form-urlencoded'), 400, 'INVALID_REQUEST');
  });

  test('a form with too many parts, as soon as they are counted', async () => {
    const parts = Array.from({ length: 33 }, (_, index) => ({ name: `field${index}`, value: 'x' }));
    expectError(await postForm(parts), 400, 'INVALID_REQUEST');
    const startMs = performance.now();
    const flood = Buffer.from('--XX\r\n\r\n\r\n'.repeat(3_000_000));
    expectError(await post(flood, 'multipart/form-data; boundary=XX'), 400, 'INVALID_REQUEST');
    expect(performance.now() - startMs).toBeLessThan(5000);
  });

  test('a field larger than an image may be', async () => {
    const small = await serverForTest({ checkpoint: checkpointFolder('narrow-vision'), imageMaxBytes: 3000 });
    expectError(await postForm([{ name: 'img', value: 'A'.repeat(6000) }], small.url), 413, 'PAYLOAD_TOO_LARGE');
    expectError(await postForm([imageFile], small.url), 400, 'IMAGE_TOO_LARGE');
  });

  test.each([
    ['no boundary', 'multipart/form-data'],
    ['an empty boundary', 'multipart/form-data; boundary='],
    ['half a boundary', 'multipart/form-data; boundary="'],
    ['another boundary', 'multipart/form-data; boundary=other'],
    ['a boundary without end', `multipart/form-data; boundary=${'b'.repeat(5000)}`],
  ])('a form with %s', async (_, type) => {
    const answer = await post(body, type);
    expect(answer.status, answer.text).toBe(400);
  });

  test.each(['multipart/mixed; boundary=XX', 'image/png', 'text/plain'])(
    'a form with the content type %s',
    async (type) => {
      expectError(await post(body, type), 400, 'INVALID_REQUEST');
    },
  );

  test.each([
    ['no header of its part', '--XX\r\n\r\nvalue\r\n--XX--\r\n'],
    ['headers without end', `--XX\r\n${'a: b\r\n'.repeat(200_000)}`],
    ['a header without end', `--XX\r\ncontent-disposition: form-data; name="${'x'.repeat(200_000)}`],
    ['headers of 100 kB', `--XX\r\n${'a: b\r\n'.repeat(20_000)}\r\nvalue\r\n--XX--\r\n`],
    ['a name of 200 kB', `--XX\r\ncontent-disposition: form-data; name="${'x'.repeat(200_000)}"\r\n\r\nv\r\n--XX--`],
    [
      'a form in a form',
      '--XX\r\ncontent-disposition: form-data; name="img"\r\ncontent-type: multipart/mixed; boundary=YY\r\n\r\n' +
        '--YY\r\ncontent-disposition: file; filename="a.png"\r\n\r\nx\r\n--YY--\r\n--XX--\r\n',
    ],
    ['nothing but line ends', '\r\n'.repeat(500_000)],
    ['nothing but boundaries', '--XX\r\n'.repeat(200_000)],
    ['almost boundaries', `--XX\r\ncontent-disposition: form-data; name="img"\r\n\r\n${'\r\n--X'.repeat(500_000)}`],
  ])('a form with %s', async (_, text) => {
    const answer = await post(text, 'multipart/form-data; boundary=XX');
    expect(answer.status, answer.text).toBe(400);
  });

  test('a form that is cut short anywhere', async () => {
    const small = multipart([
      { name: 'txt', value: '"a"' },
      { ...imageFile, value: 'GIF89a' },
    ]);
    const end = small.body.lastIndexOf('--') + 2; // A form is whole without the end after its last boundary.
    for (let length = 1; length < end; length += 1) {
      const answer = await post(small.body.subarray(0, length), small.contentType);
      expectError(answer, 400, 'INVALID_REQUEST');
    }
  });

  test('a form with changed, missing or moved bytes', async () => {
    const small = multipart([
      { name: 'txt', value: '"a"' },
      { ...imageFile, value: 'GIF89a' },
    ]);
    const pieces = ['\r\n', '\r\n\r\n', `--${small.boundary}`, '--', '\0', '"', ";filename*=utf-8''%ff", ';charset=x'];
    let state = 1;
    const random = (count: number) => {
      state = (Math.imul(state, 48_271) >>> 0) % 2_147_483_647;
      return state % count;
    };
    for (let round = 0; round < 500; round += 1) {
      const start = random(small.body.length);
      const end = Math.min(small.body.length, start + random(20));
      const piece = Buffer.from(pieces[random(pieces.length)] ?? '');
      const broken = Buffer.concat([small.body.subarray(0, start), piece, small.body.subarray(end)]);
      const answer = await post(broken, small.contentType);
      expect(answer.status, `${round}: ${JSON.stringify(broken.toString('latin1'))} ${answer.text}`).toBe(400);
    }
  });

  test('another method', async () => {
    expectError(await send(server.url, { path: '/generate' }), 405, 'METHOD_NOT_ALLOWED');
  });
});

describe('the models of a service', () => {
  const model = (name: string, checkpoint: string) => ({ name, checkpoint });
  const answers = model('answers', checkpointFolder('answers-float32'));
  const captions = model('captions', checkpointFolder('narrow-vision'));
  const clip = model('clip', checkpointFolder('clip-real-end'));

  test('without captioning, question answering answers; the text is the question', async () => {
    const several = await startServerOfModels({ models: [clip, answers] });
    try {
      await Promise.all(several.models.map((one) => one.initialize()));
      const answer = textOf(await postForm([{ name: 'txt', value: 'is the cat black?' }, imageFile], several.url));
      expect(answer).toBe('playing playing');
      const { error } = expectError(await postForm([imageFile], several.url), 400, 'INVALID_INPUT');
      expect(error).toContain('question');
    } finally {
      await several.close();
    }
  });

  test('captioning comes first, even before it is loaded', async () => {
    const several = await startServerOfModels({ models: [answers, captions] });
    try {
      await several.models[0]?.initialize();
      expectError(await postForm([imageFile], several.url), 503, 'NOT_READY');
      await several.models[1]?.initialize();
      expect(textOf(await postForm([imageFile], several.url))).toBe(await captionOf());
    } finally {
      await several.close();
    }
  });

  test('CLIP alone has no such route', async () => {
    const alone = await serverForTest({ checkpoint: clip.checkpoint });
    expectError(await postForm([imageFile], alone.url), 404, 'NOT_FOUND');
  });
});

test("a service's own preset makes captions as long as BentoBLIP's, and its metadata names it", async () => {
  const checkpoint = checkpointFolder('narrow-vision');
  const service = await serverForTest({ checkpoint, preset: 'bentoblip' });
  const caption = textOf(await postForm([imageFile], service.url));
  expect(caption.startsWith(await captionOf())).toBe(true); // The words of 20 tokens, and more.
  expect(caption).not.toBe(await captionOf());
  const short = textOf(await postForm([imageFile, { name: 'max_new_tokens', value: '30' }], service.url));
  expect(short).toBe(await captionOf(undefined, { preset: 'bentoblip', max_new_tokens: 30 }));
  expect(textOf(await postForm([imageFile, { name: 'preset', value: 'hf' }], service.url))).toBe(await captionOf());
  const parametersAt = async (url: string) =>
    JSON.parse((await send(url, { path: '/v2/models/captioning' })).text).parameters;
  expect(await parametersAt(service.url)).toEqual({ precision: 'float32', preset: 'bentoblip' });
  expect(await parametersAt(server.url)).toEqual({ precision: 'float32' });
});

describe('the guard', () => {
  test('needs a token', async () => {
    const guarded = await serverForTest({ checkpoint: checkpointFolder('narrow-vision'), apiTokens: ['secret'] });
    expectError(await postForm([imageFile], guarded.url), 401, 'UNAUTHORIZED');
    const { body, contentType } = multipart([imageFile]);
    const headers = { 'content-type': contentType, authorization: 'Bearer secret' };
    textOf(await send(guarded.url, { method: 'POST', path: '/generate', headers, body }));
    expect((await send(guarded.url, { path: '/schema.json' })).status).toBe(200);
    expect((await send(guarded.url, { path: '/readyz' })).status).toBe(200);
  });

  test('limits the size of the body', async () => {
    const small = await serverForTest({ checkpoint: checkpointFolder('narrow-vision'), maxBodyBytes: 1000 });
    expectError(await postForm([imageFile], small.url), 413, 'PAYLOAD_TOO_LARGE');
  });
});

describe('before a client asks for a caption', () => {
  test('it may read health', async () => {
    const starting = await serverForTest({ checkpoint: checkpointFolder('narrow-vision') }, { initialize: false });
    const read = async (path: string) => {
      const { status, headers, text } = await send(starting.url, { path });
      return [status, headers['content-type'], text];
    };
    const lives = [200, 'text/plain; charset=utf-8', '\n'];
    expect(await read('/livez')).toEqual(lives);
    expect(await read('/healthz')).toEqual(lives);
    expect(await read('/readyz')).toEqual([503, 'text/plain; charset=utf-8', '\n']);
    expectError(await postForm([imageFile], starting.url), 503, 'NOT_READY');
    await starting.model.initialize();
    expect(await read('/readyz')).toEqual(lives);
  });

  test('it may read the schema of the route', async () => {
    const answer = await send(server.url, { path: '/schema.json' });
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
    expect(JSON.parse(answer.text)).toMatchObject({
      type: 'service',
      routes: [
        {
          name: 'generate',
          route: '/generate',
          input: { properties: { img: { type: 'file' }, txt: { type: 'string' } }, required: ['img'] },
          output: { type: 'string' },
        },
      ],
    });
  });
});
