import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { imagePath } from '../../../support/goldens.ts';
import { dataUri, expectError, type HttpAnswer, send } from '../../../support/server.ts';
import { withServer } from '../../../support/with-server.ts';

/** Forms as clients other than curl and browsers write them, and forms that cannot be read. */

const server = withServer();
const png = readFileSync(imagePath('small'));
const prompt = 'a picture of';

const named = (name: string, more = '') => `Content-Disposition: form-data; name="${name}"${more}`;
const part = (head: string, value: Buffer | string) =>
  Buffer.concat([Buffer.from(`--XX\r\n${head}\r\n\r\n`), Buffer.from(value), Buffer.from('\r\n')]);
const form = (...parts: readonly Buffer[]) => Buffer.concat([...parts, Buffer.from('--XX--\r\n')]);
const file = '; filename="a.png"\r\nContent-Type: image/png';
const image = part(named('img', file), png);

const post = (body: Uint8Array | string, contentType = 'multipart/form-data; boundary=XX', path = '/generate') =>
  send(server.url, { method: 'POST', path, headers: { 'content-type': contentType }, body });

function textOf(answer: HttpAnswer): string {
  expect(answer.status, answer.text).toBe(200);
  return answer.text;
}

const caption = async (text?: string) =>
  textOf(await post(JSON.stringify({ img: dataUri('small'), txt: text }), 'application/json'));

describe('a picture', () => {
  test.each<[string, Buffer, string?]>([
    ['without a file name, with its type', form(part(`${named('img')}\r\nContent-Type: image/png`, png))],
    ['without a file name and a type', form(part(named('img'), png))],
    ['with an extended file name', form(part(named('img', "; filename*=UTF-8''b%C3%BC.png"), png))],
    ['with a file name in UTF-8', form(part(named('img', '; filename="bü.png"'), png))],
    ['with unquoted names', form(part('Content-Disposition: form-data; name=img; filename=a.png', png))],
    ['in other letters', form(part('content-disposition: FORM-DATA; NAME="img"; FILENAME="a.png"', png))],
    [
      'in base64, as mail has it',
      form(
        part(
          `${named('img', file)}\r\nContent-Transfer-Encoding: base64`,
          png.toString('base64').replace(/.{76}/g, '$&\r\n'),
        ),
      ),
    ],
    [
      'in base64 without a file name',
      form(part(`${named('img')}\r\nContent-Transfer-Encoding: Base64`, png.toString('base64'))),
    ],
    ['in binary', form(part(`${named('img', file)}\r\nContent-Transfer-Encoding: binary`, png))],
    ['as a list of one', form(part(named('img[]', file), png))],
    ['under its name as an input', form(part(named('img_url', file), png))],
    ['before an epilogue', Buffer.concat([form(image), Buffer.from('the end\r\n--XX\r\n')])],
    ['after a preamble', Buffer.concat([Buffer.from('This is a form.\r\n'), form(image)])],
    ['after an empty line', Buffer.concat([Buffer.from('\r\n'), form(image)])],
    ['without the last line end', form(image).subarray(0, -2)],
    ['with a quoted boundary', form(image), 'multipart/form-data; boundary="XX"'],
    ['with a charset before the boundary', form(image), 'multipart/form-data; charset=utf-8; boundary=XX'],
    ['with a content type in capitals', form(image), 'Multipart/Form-Data; Boundary=XX'],
    [
      'beside a file that nobody chose',
      form(
        part(`${named('img', '; filename=""')}\r\nContent-Type: application/octet-stream`, ''),
        part(named('img'), dataUri('small')),
      ),
    ],
  ])('is captioned: %s', async (_, body, contentType) => {
    expect(textOf(await post(body, contentType))).toBe(await caption());
  });
});

describe('a text', () => {
  test.each<[string, Buffer]>([
    ['in a file', part(named('txt', '; filename="t.txt"\r\nContent-Type: text/plain'), prompt)],
    ['in a file of bytes', part(`${named('txt')}\r\nContent-Type: application/octet-stream`, prompt)],
    ['quoted-printable', part(`${named('txt')}\r\nContent-Transfer-Encoding: quoted-printable`, 'a pict=75re=\r\n of')],
    ['in base64', part(`${named('txt')}\r\nContent-Transfer-Encoding: base64`, Buffer.from(prompt).toString('base64'))],
    ['with its charset', part(`${named('txt')}\r\nContent-Type: text/plain; charset=UTF-8`, prompt)],
    ['in quotes', part(named('txt'), JSON.stringify(prompt))],
    ['as a list of one', part(named('txt[]'), prompt)],
  ])('is read: %s', async (_, text) => {
    expect(textOf(await post(form(image, text)))).toBe(await caption(prompt));
    expect(textOf(await post(form(text, image)))).toBe(await caption(prompt));
  });

  test('is decoded as its charset says', async () => {
    const latin1 = part(
      `${named('txt')}\r\nContent-Type: text/plain; charset=iso-8859-1`,
      Buffer.from('caf\xe9', 'latin1'),
    );
    expect(textOf(await post(form(image, latin1)))).toBe(await caption('café'));
  });

  test('keeps a character that stands for an unreadable one', async () => {
    expect(textOf(await post(form(image, part(named('txt'), 'a \ufffd'))))).toBe(await caption('a \ufffd'));
  });

  test('that is not UTF-8 is refused, and the message says so', async () => {
    const answer = await post(form(image, part(named('txt'), Buffer.from('caf\xe9', 'latin1'))));
    expect(expectError(answer, 400, 'INVALID_INPUT').error).toBe(
      'Expected text[0] to be string, got 4 bytes that are no text in UTF-8.',
    );
    const urlEncoded = await post(
      `img=${encodeURIComponent(dataUri('small'))}&txt=caf%E9`,
      'application/x-www-form-urlencoded',
    );
    expect(expectError(urlEncoded, 400, 'INVALID_REQUEST').error).toContain('UTF-8');
  });
});

describe('an urlencoded form', () => {
  const urlEncoded = 'application/x-www-form-urlencoded';
  const imageField = `img=${encodeURIComponent(dataUri('small'))}`;

  test('has spaces as pluses, and pluses as escapes', async () => {
    for (const [text, meant] of [
      ['a+picture+of', prompt],
      ['+a%20picture+of+', ` ${prompt} `],
      ['a%2Bb+c', 'a+b c'],
    ])
      expect(textOf(await post(`${imageField}&txt=${text}`, urlEncoded))).toBe(await caption(meant));
  });

  test('of pluses alone takes little memory', async () => {
    const before = process.memoryUsage().rss;
    const answer = await post(`img=${'+'.repeat(20_000_000)}`, urlEncoded);
    expect(process.memoryUsage().rss - before).toBeLessThan(300_000_000);
    expectError(answer, 400, 'IMAGE_SOURCE_INVALID');
  });
});

describe('refused is', () => {
  test.each<[string, Buffer, string, string]>([
    [
      'another encoding',
      form(image, part(`${named('txt')}\r\nContent-Transfer-Encoding: x-uuencode`, 'a')),
      'INVALID_REQUEST',
      'base64 or quoted-printable',
    ],
    [
      'lines that end with LF',
      Buffer.from(
        form(part(named('txt'), 'a'))
          .toString()
          .replaceAll('\r\n', '\n'),
      ),
      'INVALID_REQUEST',
      'CRLF',
    ],
    [
      'a picture under another name',
      form(part(named('image', file), png)),
      'INVALID_INPUT',
      '"image": did you mean img?',
    ],
    [
      'nothing but a file that nobody chose',
      form(part(named('img', '; filename=""'), '')),
      'INVALID_INPUT',
      'got none.',
    ],
    ['two pictures of one name', form(image, image), 'INVALID_REQUEST', 'unique name'],
    [
      'two lists of one name',
      form(part(named('img[]', file), png), part(named('img'), 'data:,x')),
      'INVALID_REQUEST',
      'once',
    ],
    ['two pictures', form(image, part(named('other', file), png)), 'INVALID_REQUEST', '/infer takes several images'],
    ['a misspelt parameter', form(image, part(named('num_beam'), '2')), 'INVALID_INPUT', 'did you mean num_beams?'],
  ])('%s', async (_, body, code, words) => {
    expect(expectError(await post(body), 400, code).error).toContain(words);
  });

  test('base64 whose plus signs became spaces in an urlencoded form', async () => {
    const body = `img=data:image/png;base64,${readFileSync(imagePath('chelsea')).toString('base64')}`;
    const answer = await post(body, 'application/x-www-form-urlencoded');
    expect(expectError(answer, 400, 'IMAGE_SOURCE_INVALID').error).toContain('spaces where + was');
  });

  test.each(['  ', '\t'])('a part behind a boundary with %j, which the parser would lose', async (spaces) => {
    const picture = readFileSync(new URL('../../../../examples/two-cats.png', import.meta.url));
    const padded = (whole: Buffer) => Buffer.concat([Buffer.from(`--XX${spaces}\r\n`), whole.subarray(6)]);
    for (const body of [form(padded(part(named('img'), picture))), form(image, padded(part(named('num_beams'), '2')))])
      expect(expectError(await post(body), 400, 'INVALID_REQUEST').error).toContain('behind its boundary');
  });

  test('a picture that curl sends as urlencoded', async () => {
    const answer = await post(readFileSync(imagePath('chelsea')), 'application/x-www-form-urlencoded');
    expect(expectError(answer, 400, 'INVALID_REQUEST').error).toContain('got an image.');
  });

  test('a form at a door that takes none, and the message says which door takes it', async () => {
    for (const path of ['/', '/v2/models/captioning/infer', '/v2/models/captioning/generate', '/predictions'])
      expect(expectError(await post(form(image), undefined, path), 400, 'INVALID_REQUEST').error).toContain(
        'POST /generate',
      );
  });
});
