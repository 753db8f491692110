import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { describeFile } from '../../../../pipeline/images/formats/file-kind.ts';
import { recognizeFormat } from '../../../../pipeline/images/formats/image-formats.ts';
import { decodeImage } from '../../../../pipeline/images/image-decode.ts';
import { readPicture } from '../../../support/pillow-outcomes.ts';
import { expectHandlerError } from '../../../support/thrown.ts';

/** A file as its first bytes, in hexadecimal where spaces are, and zeros behind them. */
const hex = (text: string) => Buffer.concat([Buffer.from(text.replaceAll(' ', ''), 'hex'), Buffer.alloc(300)]);
const text = (start: string) => Buffer.from(start);
const padded = (start: string) => Buffer.concat([Buffer.from(start, 'latin1'), Buffer.alloc(300)]);
const media = (brands: string) => padded(`\0\0\0\x20ftyp${brands}`);
const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'ab'.repeat(32)}\nsize 1234\n`;
const svg = '<svg xmlns="http://www.w3.org/2000/svg"><text>secret</text></svg>';
const html = '<!DOCTYPE html>\n<html><body>secret</body></html>';

const kinds: readonly (readonly [expected: string, bytes: Buffer])[] = [
  ['a HEIC image', readPicture('iphone.heic')],
  ['a HEIC image', media('heix\0\0\0\0mif1')],
  ['a HEIC image', media('mif1\0\0\0\0mif1heic')],
  ['a HEIC image', media('hevc\0\0\0\0msf1hevc')],
  ['a HEIF image', media('mif1\0\0\0\0mif1miaf')],
  ['a Canon raw image', media('crx \0\0\0\x01crx isom')],
  ['an MP4 video', media('isom\0\0\x02\0isomiso2avc1mp41')],
  ['an MP4 video', media('mp42\0\0\0\0mp42')],
  ['a QuickTime video', media('qt  \0\0\0\0qt  ')],
  ['an MP4 sound', media('M4A \0\0\0\0')],
  ['a JPEG XL image', hex('ff0a fa7f')],
  ['a JPEG XL image', hex('0000000c 4a584c20 0d0a870a')],
  ['a JPEG 2000 image', hex('0000000c 6a502020 0d0a870a')],
  ['a JPEG 2000 image', hex('ff4f ff51')],
  ['a JPEG XR image', hex('4949bc01')],
  ['a Photoshop image', padded('8BPS\0\x01')],
  ['an ICO image', hex('00000100 0100 1010')],
  ['a Windows cursor', hex('00000200 0100 2020')],
  ['an ICNS image', padded('icns')],
  ['a DDS image', hex('44445320 7c000000')],
  ['a QOI image', padded('qoif')],
  ['an OpenEXR image', hex('762f3101')],
  ['a Radiance HDR image', padded('#?RADIANCE\n')],
  ['a PNM image', text('P3\n2 2 255 1 2 3')],
  ['a PNM image', padded('P6 2 2 255\n')],
  ['a PCX image', hex('0a05 0108')],
  ['an SGI image', hex('01da 0101 0003')],
  ['a Sun raster image', hex('59a66a95')],
  ['a GIMP image', padded('gimp xcf v011')],
  ['a Windows metafile', hex('d7cdc69a')],
  ['an AVI video', padded('RIFF\0\0\0\x01AVI LIST')],
  ['a WAVE sound', padded('RIFF\0\0\0\x01WAVEfmt ')],
  ['a RIFF file of another kind', padded('RIFF\0\0\0\x01RMID')],
  ['a Matroska or WebM video', hex('1a45dfa3')],
  ['an MP3 sound', padded('ID3\x03')],
  ['an Ogg file', padded('OggS')],
  ['a PDF document', text('%PDF-1.7\n%secret')],
  ['a PostScript document', text('%!PS-Adobe-3.0 EPSF')],
  ['gzip data', gzipSync('secret')],
  ['a ZIP archive', padded('PK\x03\x04')],
  ['xz data', hex('fd377a585a00')],
  ['Zstandard data', hex('28b52ffd')],
  ['a tar archive', Buffer.concat([Buffer.alloc(257, 'a'), padded('ustar')])],
  ['a Python pickle', hex('8004 95')],
  ['a NumPy array', padded('\x93NUMPY')],
  ['a program', padded('\x7fELF')],
  ['a Git LFS pointer in place of its file; fetch it with `git lfs pull`', text(pointer)],
  ['an SVG image', text(svg)],
  ['an SVG image', text(`\ufeff<?xml version="1.0"?>\n<!-- secret -->\n<!DOCTYPE svg PUBLIC "x" "y">\n${svg}`)],
  ['an SVG image', Buffer.from(`\ufeff${svg}`, 'utf16le')],
  ['an HTML page', text(html)],
  ['an HTML page', text(`  \r\n<!-- secret --><html lang="en">`)],
  ['an HTML page', text('<head><title>Attention Required! | secret</title>')],
  ['an XML document', text('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>')],
  ['a document of markup', text('<p>secret</p>')],
  ['JSON', text('\n{"secret":1}')],
  ['JSON', text('["secret"]')],
  ['base64 as text', text('iVBORw0KGgoAAAANSUhEUgAAAAE=')],
  ['a data: URI as text', text('data:image/png;base64,iVBORw0KGgo=')],
  ['a URL as text', text('https://example.com/secret.png')],
  ['no bytes', Buffer.alloc(0)],
  ['8 bytes of text', text('BMW 1234')],
  ['26 bytes of text', text('Bücher über Katzen, 🐈')],
  ['11 bytes of text', text('GIF, secret')],
  ['1 byte of another kind', Buffer.of(0xff)],
  ['2000 bytes of another kind', Buffer.concat([Buffer.of(0, 0xee), randomBytes(1998)])],
];

test.each(kinds)('%s', async (expected, bytes) => {
  expect(describeFile(bytes)).toBe(expected);
  const { message } = await expectHandlerError(
    decodeImage(bytes, { maxPixels: 1000, maxSide: 1000, applyExif: true }),
    'IMAGE_UNSUPPORTED',
  );
  expect(message).toBe(`Expected a JPEG, PNG, WebP, GIF, AVIF, TIFF or BMP image, got ${expected}.`);
});

test.each([
  ['avif', media('avif\0\0\0\0mif1')],
  ['avif', media('avis\0\0\0\0avis')],
  ['avif', media('mif1\0\0\0\0mif1avifmiaf')],
  ['tiff', hex('49492a00')],
  ['tiff', hex('4d4d002a')],
  ['tiff', hex('49492b00')],
  ['bmp', readPicture('small.bmp')],
  ['jpeg', hex('ffd8ffdb')],
  ['webp', padded('RIFF\x10\0\0\0WEBPVP8X')],
] as const)('%s is known by its first bytes', (format, bytes) => {
  expect(recognizeFormat(bytes)).toBe(format);
});

test('a long page whose first kilobyte ends within a character is text', () => {
  expect(describeFile(text(`x${'é'.repeat(2000)}`))).toBe('4001 bytes of text');
});
