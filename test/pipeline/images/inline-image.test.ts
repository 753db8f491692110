import { describe, expect, test } from 'vitest';
import { decodeBase64, readDataUri, requireBytes } from '../../../pipeline/images/inline-image.ts';
import { thrownBy } from '../../support/thrown.ts';

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');

describe('a data: URI', () => {
  test.each([
    ['data:,cat', 'cat'],
    ['data:image/png;base64,Y2F0', 'cat'],
    ['data:image/png;charset=x;BASE64,Y2F0', 'cat'],
    ['data:;base64 ,Y2F0', 'cat'],
    ['data:;base64,Y2F0%0A', 'cat'],
    ['data:,%63%61%74', 'cat'],
    ['data:,100%', '100%'],
    ['data:,%4', '%4'],
    ['data:,%4x%zz%e9', '%4x%zz\xe9'],
    ['data:,a,b', 'a,b'],
    ['data:,', ''],
    ['data:image/png; base64,Y2F0', 'cat'],
    ['data:image/png;   base64,Y2F0', 'cat'],
    ['data: image/png ; charset=x ; BaSe64 ,Y2F0', 'cat'],
    ['data:image/png;ba\nse64,Y2F0', 'cat'],
    ['data:;base64, Y2F0 ', 'cat'],
    ['data:;base64,Y2E', 'ca'],
    ['data:;base64,Y2E%3D', 'ca'],
    ['data:;base64,%2B%2F%2b%2f', '\xfb\xff\xbf'],
    ['data:;base64,Y2F0#fragment', 'cat'],
    ['data:image/png;name="a;base64",cat', 'cat'],
    ['data:base64,Y2F0', 'Y2F0'],
  ])('%s', (uri, expected) => {
    expect(text(readDataUri(uri, 100))).toBe(expected);
  });

  test('needs a comma before its data', () => {
    expect(thrownBy(() => readDataUri('data:image/png;base64', 100))).toMatchObject({ code: 'IMAGE_SOURCE_INVALID' });
  });

  test('says that ;base64 is missing where its data begin as an image in base64', () => {
    for (const data of ['/9j/4AAQSkZJRg', 'iVBORw0KGgoAAAA', 'R0lGODlhAQAB', 'UklGRiQAAABXRUJQ'])
      expect(thrownBy(() => readDataUri(`data:image/any,${data}`, 100))).toMatchObject({
        code: 'IMAGE_SOURCE_INVALID',
        message: expect.stringContaining('with ;base64 before its comma'),
      });
  });

  test('has a media type of bounded length', () => {
    expect(thrownBy(() => readDataUri(`data:${'; '.repeat(5_000)};base64,Y2F0`, 100_000))).toMatchObject({
      code: 'IMAGE_SOURCE_INVALID',
      message: 'Expected a data: URI with at most 1000 characters before its data, got more.',
    });
  });

  test('is bounded by its bytes, and before it is decoded by its characters', () => {
    expect(text(readDataUri('data:,%63%61%74', 3))).toBe('cat');
    expect(thrownBy(() => readDataUri('data:,%63%61%74', 2))).toMatchObject({
      code: 'IMAGE_TOO_LARGE',
      message: 'Expected an image of at most 2 bytes, got 3.',
    });
    expect(thrownBy(() => readDataUri(`data:,${'x'.repeat(2_000)}`, 2))).toMatchObject({
      code: 'IMAGE_TOO_LARGE',
      message: 'Expected an image of at most 2 bytes, got 2006 characters.',
    });
  });
});

describe('base64', () => {
  test.each([
    ['Y2F0', 'cat'],
    [' Y2 F0\n', 'cat'],
    ['Y2E=', 'ca'],
    ['Yw= =', 'c'],
    ['%2B%2F%2B%2f', '\xfb\xff\xbf'],
    ['Y2F0\r\nY2F0\r\n', 'catcat'],
    ['Y2F0\tY2F0', 'catcat'],
    ['Y2F0Y2F0 Y2F0Y2F0 Y2E=', 'catcatcatcatca'],
    ['-_-_', '\xfb\xff\xbf'],
    ['+/+/', '\xfb\xff\xbf'],
  ])('%j', (encoded, expected) => {
    expect(text(decodeBase64(encoded, 100))).toBe(expected);
  });

  test.each(['', '=', '####', 'Y2F0===', 'Y=2F0'])('%j is none', (encoded) => {
    expect(thrownBy(() => decodeBase64(encoded, 100))).toMatchObject({ code: 'IMAGE_SOURCE_INVALID' });
  });
});

test('bytes of a file may be as many as allowed', () => {
  expect(requireBytes(new Uint8Array(3), 3)).toHaveLength(3);
  expect(thrownBy(() => requireBytes(new Uint8Array(4), 3))).toMatchObject({ code: 'IMAGE_TOO_LARGE' });
});
