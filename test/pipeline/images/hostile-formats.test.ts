import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { describe, test } from 'vitest';
import { expectBounded } from '../../support/decode-apart.ts';
import { bitmap, tiff } from '../../support/image-files.ts';

/** Small BMP, TIFF, GIF and CMYK files that decode to much, or that say what is not so. */

type Size = readonly [width: number, height: number];

/** An image whose strips are all the same bytes of the file. */
function strips([width, height]: Size, bits: readonly number[], photometric: number, rows: number, more = {}): Buffer {
  const rowBytes = Math.ceil((width * bits.reduce((sum, each) => sum + each, 0)) / 8);
  const strip = deflateSync(Buffer.alloc(rowBytes * rows));
  const count = Math.ceil(height / rows);
  const places = { 273: Array(count).fill(8), 278: [rows], 279: Array(count).fill(strip.length) };
  return tiff(strip, {
    256: [width],
    257: [height],
    258: bits,
    259: [8],
    262: [photometric],
    277: [bits.length],
    ...places,
    ...more,
  });
}

/** An image whose tiles are all the same bytes of the file. */
function tiles([width, height]: Size, [tileWidth, tileHeight]: Size, isSeparate = false): Buffer {
  const tile = deflateSync(Buffer.alloc(tileWidth * tileHeight * (isSeparate ? 1 : 3)));
  const count = Math.ceil(width / tileWidth) * Math.ceil(height / tileHeight) * (isSeparate ? 3 : 1);
  const places = {
    322: [tileWidth],
    323: [tileHeight],
    324: Array(count).fill(8),
    325: Array(count).fill(tile.length),
  };
  const planar = { 284: [isSeparate ? 2 : 1] };
  return tiff(tile, {
    256: [width],
    257: [height],
    258: [8, 8, 8],
    259: [8],
    262: [2],
    277: [3],
    ...places,
    ...planar,
  });
}

const rgb = [8, 8, 8];
const large: Size = [8_000, 6_000];
const middle: Size = [5_000, 4_000];
const plain = ([width, height]: Size) =>
  sharp({ create: { width, height, channels: 3, background: 'teal' }, limitInputPixels: false });

async function smallFrame([width, height]: Size): Promise<Buffer> {
  const file = await plain([10, 10]).gif().toBuffer();
  file.writeUInt16LE(width, 6);
  file.writeUInt16LE(height, 8);
  return file;
}

const palette = Buffer.alloc(1024, 7);
const skips = Buffer.concat([...Array.from({ length: 24 }, () => Buffer.of(0, 2, 0, 250)), Buffer.of(0, 1)]);

describe.skipIf(process.platform !== 'linux')('within 300 MB and 2 s', () => {
  test.each<readonly [string, string, () => Promise<Buffer> | Buffer]>([
    [
      'BMP of 48 megapixels, 1 bit each',
      '8000 x 6000',
      () => bitmap(1, large, Buffer.alloc(6_000_000, 0x55), { palette }),
    ],
    ['BMP of 6.6 megapixels in 20 MB', '3000 x 2200', () => bitmap(24, [3_000, 2_200], Buffer.alloc(19_800_000, 3))],
    ['BMP of 48 megapixels in 100 bytes', '8000 x 6000', () => bitmap(8, large, skips, { compression: 1, palette })],
    ['BMP of 300 megapixels', 'IMAGE_TOO_LARGE', () => bitmap(8, [15_000, 15_000], skips, { compression: 1, palette })],
    ['BMP of a side of 2^31 - 1', 'IMAGE_TOO_LARGE', () => bitmap(24, [2 ** 31 - 1, 1], Buffer.alloc(100))],
    [
      'BMP of 20 MB of codes without pixels',
      'IMAGE_CORRUPT',
      () => bitmap(8, large, Buffer.alloc(20_000_000), { compression: 1, palette }),
    ],
    ['TIFF of 48 megapixels', '8000 x 6000', () => strips(large, rgb, 2, 16)],
    ['TIFF of 48 megapixels in one strip', '8000 x 6000', () => strips(large, rgb, 2, 6_000)],
    ['TIFF of 48 megapixels of 16 bits', 'IMAGE_TOO_LARGE', () => strips(large, [16, 16, 16], 2, 16)],
    ['TIFF of 20 megapixels of 16 bits', '5000 x 4000', () => strips(middle, [16, 16, 16], 2, 16)],
    ['TIFF of 20 megapixels of inks', '5000 x 4000', () => strips(middle, [8, 8, 8, 8], 5, 16)],
    ['TIFF of 20 megapixels of CIE L*a*b*', '5000 x 4000', () => strips(middle, rgb, 8, 16)],
    ['TIFF of 20 megapixels of 12 bits', '5000 x 4000', () => strips(middle, [12], 1, 16)],
    ['TIFF of 20 megapixels, turned', '4000 x 5000', () => strips(middle, rgb, 2, 16, { 274: [6] })],
    ['TIFF of 48 megapixels, turned', 'IMAGE_TOO_LARGE', () => strips(large, rgb, 2, 16, { 274: [6] })],
    ['TIFF of 20 megapixels in planes', '5000 x 4000', () => tiles(middle, [256, 256], true)],
    ['TIFF of 20 megapixels in two large tiles', '5000 x 4000', () => tiles(middle, [5_008, 2_048])],
    [
      'TIFF of 100,001 strips',
      'IMAGE_TOO_COMPLEX',
      () => strips([8, 16_000], [8], 1, 1, { 273: Array(100_001).fill(8) }),
    ],
    ['TIFF of 65,535 samples', 'IMAGE_CORRUPT', () => strips([100, 100], rgb, 2, 100, { 277: [65_535] })],
    ['TIFF of a side of 2^32 - 1', 'IMAGE_TOO_LARGE', () => strips([100, 100], rgb, 2, 100, { 256: [2 ** 32 - 1] })],
    ['GIF of 30 megapixels around a small frame', '6000 x 5000', () => smallFrame([6_000, 5_000])],
    ['GIF of 4 gigapixels around a small frame', 'IMAGE_TOO_LARGE', () => smallFrame([65_535, 65_535])],
    ['JPEG of 20 megapixels of inks', '5000 x 4000', () => plain(middle).toColourspace('cmyk').jpeg().toBuffer()],
    [
      'progressive JPEG of 18 megapixels of inks',
      'IMAGE_TOO_LARGE',
      () => plain([4_500, 4_000]).toColourspace('cmyk').jpeg({ progressive: true }).toBuffer(),
    ],
  ])('%s: %s', async (_, outcome, make) => {
    await expectBounded(await make(), outcome);
  });
});
