import { describe, expect, test } from 'vitest';
import { parseJson } from '../../../../handlers/http/exchange/request-body.ts';
import { decodeTransfer } from '../../../../handlers/http/exchange/transfer-encoding.ts';
import { thrownBy } from '../../../support/thrown.ts';

describe('a body that is no JSON is named', () => {
  const utf16 = (text: string) => Buffer.from(text, 'utf16le');

  test.each<[string, Buffer, string]>([
    ['UTF-16 with its mark', utf16('\ufeff{"inputs": []}'), 'text in UTF-16'],
    ['UTF-16 of the other order', utf16('\ufeff{"inputs": []}').swap16(), 'text in UTF-16'],
    ['UTF-16 without a mark', utf16('{"inputs": []}'), 'text in UTF-16'],
    ['UTF-16 of the other order without a mark', utf16('[1]').swap16(), 'text in UTF-16'],
    ['Latin-1', Buffer.from('{"text": "caf\xe9"}', 'latin1'), '16 bytes that are not UTF-8'],
    ['gzip', Buffer.from('1f8b0800', 'hex'), 'gzip'],
    ['a JPEG', Buffer.from('ffd8ffe000104a46', 'hex'), 'an image'],
    ['a form', Buffer.from('--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--XX--\r\n'), 'multipart'],
    ['an urlencoded form', Buffer.from('img_url=https%3A%2F%2Fexample.com&text=a'), 'a form that is urlencoded'],
    ['a page', Buffer.from('<!doctype html>'), 'HTML or XML'],
    ["Python's dictionary", Buffer.from("{'inputs': [None]}"), 'a dictionary as Python prints it'],
    ['NaN', Buffer.from('{"inputs": [{"data": [NaN]}]}'), 'NaN or Infinity'],
    ['half of a text', Buffer.from('{"inputs": ['), '12 bytes that do not parse'],
  ])('%s', (_, body, words) => {
    expect(thrownBy(() => parseJson(body))).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringMatching(new RegExp(`^Expected a JSON body, got .*${words}.*\\.$`)),
    });
  });

  test('but a byte order mark before JSON in UTF-8 is read over', () => {
    expect(parseJson(Buffer.from('\ufeff{"a": 1}'))).toEqual({ a: 1 });
  });
});

describe('the transfer encoding of a part', () => {
  const decode = (text: string, encoding: string) =>
    Buffer.from(decodeTransfer(Buffer.from(text, 'latin1'), encoding) ?? []).toString('latin1');

  test.each([
    ['a=\r\nb', 'ab'],
    ['a=\nb', 'ab'],
    ['=41=4a=4B', 'AJK'],
    ['caf=E9', 'caf\xe9'],
    ['a=', 'a='],
    ['a=4', 'a=4'],
    ['a=zz', 'a=zz'],
    ['a\r\nb', 'a\r\nb'],
    ['', ''],
  ])('quoted-printable: %j', (text, decoded) => {
    expect(decode(text, 'Quoted-Printable')).toBe(decoded);
  });

  test('may be none, or base64, and no other', () => {
    for (const encoding of ['7bit', '8BIT', 'binary', '', ' binary ']) expect(decode('a\xe9', encoding)).toBe('a\xe9');
    expect(decode('Y2F0\r\nY2F0\r\n', 'BASE64')).toBe('catcat');
    expect(decodeTransfer(Buffer.from('a'), 'x-uuencode')).toBeUndefined();
  });
});
