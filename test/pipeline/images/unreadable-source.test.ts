import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { loadImage } from '../../../pipeline/images/image-source.ts';
import { decodeBase64, readDataUri } from '../../../pipeline/images/inline-image.ts';
import { imagePath } from '../../support/goldens.ts';
import { imageOptions } from '../../support/image-options.ts';
import { expectHandlerError, thrownBy } from '../../support/thrown.ts';

/** Texts that clients send in place of an image. */

async function refusalOf(source: string): Promise<string> {
  return (await expectHandlerError(loadImage(source, imageOptions), 'IMAGE_SOURCE_INVALID')).message;
}

describe('a text that is no image is named as', () => {
  test.each([
    ['', 'an empty text'],
    ['null', 'the name of a missing value'],
    ['NULL', 'the name of a missing value'],
    ['undefined', 'the name of a missing value'],
    ['None', 'the name of a missing value'],
    ['NaN', 'the name of a missing value'],
    ['true', 'the name of a missing value'],
    ['(null)', 'the name of a missing value'],
    ['N/A', 'the name of a missing value'],
    ['NA', 'the name of a missing value'],
    ['nullptr', 'the name of a missing value'],
    ['0', 'the name of a missing value'],
    ['<NA>', 'the name of a missing value'],
    ['[object Object]', 'the name of a missing value'],
    ['[object Blob]', 'the name of a missing value'],
    ['data:image/png;base64,null', 'the name of a missing value'],
    ['data:image/png;base64,undefined', 'the name of a missing value'],
    ['data:image/png;base64,[object Object]', 'the name of a missing value'],
    ['data:image/png;base64,', 'an empty text'],
    ["b'/9j/4AAQSkZJRgABAQ=='", 'bytes as Python prints them'],
    ['"/9j/4AAQSkZJRgABAQ=="', 'one in quotes'],
    ['@cat.png', 'a file name after @'],
    ['/home/ann/cat.jpg', 'the path of a file'],
    ['/home/ann/pictures/cat', 'the path of a file'],
    ['/mnt/data/images/of/many/cats/and/dogs', 'the path of a file'],
    ['C:\\Users\\ann\\cat.jpg', 'the path of a file'],
    ['D:/pictures/cat', 'the path of a file'],
    ['\\\\server\\share\\cat.png', 'the path of a file'],
    ['./cat', 'the path of a file'],
    ['../cat.png', 'the path of a file'],
    ['~/cat.png', 'the path of a file'],
    ['pictures/cat.webp', 'the path of a file'],
    ['file:///etc/passwd', 'the path of a file'],
    ['blob:https://example.com/0f9a', 'a blob: URL'],
    ['s3://bucket/cat.png', 'the name of an object in a store'],
    ['gs://bucket/cat.png', 'the name of an object in a store'],
    ['hf://datasets/a/b/cat.png', 'the name of an object in a store'],
    ['content://media/external/images/1', 'an address of content:'],
    ['www.example.com/cat.png', 'an address without a scheme'],
    ['example.com/cat.png', 'an address without a scheme'],
    ['//example.com/cat.png', 'an address without a scheme'],
    ['localhost:8000/cat.png', 'an address without a scheme'],
    ['192.168.0.1/cat.png', 'an address without a scheme'],
    ['image/png;base64,iVBORw0KGgoAAAANSUhEUg', 'a data: URI without its beginning'],
    [';base64,iVBORw0KGgoAAAANSUhEUg', 'a data: URI without its beginning'],
    ['base64,iVBORw0KGgoAAAANSUhEUg', 'a data: URI without its beginning'],
    ['data%3Aimage%2Fpng%3Bbase64%2CiVBORw0KGgo', 'one that is percent-encoded as a whole'],
    ['https%3A%2F%2Fexample.com%2Fcat.png', 'one that is percent-encoded as a whole'],
    ['<img src="cat.png">', 'HTML or XML'],
    ['{"url": "https://example.com/cat.png"}', 'JSON as a text'],
    ['["https://example.com/cat.png"]', 'JSON as a text'],
    ['/9j/4AAQ\\nSkZJRgABAQ', 'one with backslashes'],
    ['\\/9j\\/4AAQSkZJRgABAQ', 'one with backslashes'],
    ['no image!', '9 characters of something else'],
    ['data:image/png;base64,data:image/png;base64,iVBORw0KGgo', 'a data: URI within another one'],
    ['two cats on a yellow background', '31 characters of something else'],
    [`a photo of ${'two apples and a cat on blue '.repeat(10)}`, '300 characters of something else'],
  ])('%j: %s', async (source, named) => {
    const message = await refusalOf(source);
    expect(message).toMatch(/^Expected a URL, a data: URI or base64, got .*\.$/);
    expect(message).toContain(named);
    expect(message).not.toMatch(/passwd|ann|bucket|example/);
  });
});

const png = readFileSync(imagePath('chelsea'));
const base64 = png.toString('base64');
const MAX_BYTES = 1_000_000;

describe('spaces in base64', () => {
  test('that stand for plus signs are told of, wherever the base64 is', async () => {
    const lost = base64.replaceAll('+', ' ');
    expect(lost).not.toBe(base64);
    for (const source of [lost, `data:image/png;base64,${lost}`, lost.replace(/=+$/, ''), `  ${lost}\n`])
      expect(await refusalOf(source)).toBe(
        'Expected base64, got some with spaces where + was, as forms make of it. Write + as %2B, or send JSON.',
      );
  });

  test('that stand for plus signs are told of in lines too, and in every short text that they fit', () => {
    const lines = base64.replace(/.{76}/g, '$&\r\n').replaceAll('+', ' ');
    expect(thrownBy(() => decodeBase64(lines, MAX_BYTES))).toMatchObject({ code: 'IMAGE_SOURCE_INVALID' });
    for (let length = 20; length < 60; length += 1) {
      const short = Buffer.from(Uint8Array.from({ length }, (_, index) => (index === 7 ? 0xfb : (index * 37) % 200)));
      const encoded = short.toString('base64');
      if ((encoded.match(/\+/g) ?? []).length !== 1) continue;
      const lost = encoded.replaceAll('+', ' ');
      expect(
        thrownBy(() => decodeBase64(lost, MAX_BYTES)),
        encoded,
      ).toMatchObject({ code: 'IMAGE_SOURCE_INVALID' });
    }
  });

  test('that stand for line breaks are left out', () => {
    for (const length of [60, 64, 76, 4]) {
      const lines = base64.replace(new RegExp(`.{${length}}`, 'g'), '$& ');
      expect(Buffer.compare(decodeBase64(lines, MAX_BYTES), png)).toBe(0);
      const withoutPlus = base64.replaceAll('+', 'A');
      const spaced = withoutPlus.replace(new RegExp(`.{${length}}`, 'g'), '$& ');
      expect(Buffer.from(decodeBase64(spaced, MAX_BYTES)).toString('base64')).toBe(withoutPlus);
      const indented = withoutPlus.replace(new RegExp(`.{${length}}`, 'g'), '$& \r\n    ');
      expect(Buffer.from(decodeBase64(indented, MAX_BYTES)).toString('base64')).toBe(withoutPlus);
    }
  });

  test('beside plus signs, and in the alphabet of URLs, are left out', () => {
    expect(base64).toContain('+');
    const scattered = base64.replace(/(.{5})(.{900})/g, '$1 $2');
    expect(Buffer.compare(decodeBase64(scattered, MAX_BYTES), png)).toBe(0);
    const urlSafe = png.toString('base64url').replace(/(.{5})(.{900})/g, '$1 $2');
    expect(Buffer.compare(readDataUri(`data:;base64,${urlSafe}`, MAX_BYTES), png)).toBe(0);
  });
});
