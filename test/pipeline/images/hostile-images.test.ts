import { crc32, deflateSync } from 'node:zlib';
import sharp, { type Sharp } from 'sharp';
import { describe, test } from 'vitest';
import {
  animatedGif,
  animatedWebp,
  avifGrid,
  exifOfPointers,
  jpegBeginningWith,
  jpegOfManyScans,
  jpegSegment,
  repeated,
} from '../../support/costly-images.ts';
import { expectBounded } from '../../support/decode-apart.ts';

/**
 * Small files that decode to much, or whose decoders work for long, each decoded in a process of its own: refused, or
 * decoded in the memory and the processor time that one image may take.
 */

/** One colour, which every format makes a small file of. */
function plain(width: number, height: number, channels: 3 | 4 = 3): Sharp {
  const background = { r: 200, g: 30, b: 90, alpha: 0.5 };
  return sharp({ create: { width, height, channels, background }, limitInputPixels: false });
}

function chunk(type: string, data: Uint8Array): Buffer {
  const content = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  checksum.writeUInt32BE(crc32(content));
  return Buffer.concat([length, content, checksum]);
}

/** A small PNG with a chunk after its header, and a size that its header claims. */
async function png(
  claimed: readonly [width: number, height: number],
  { interlaced = false, extra }: { readonly interlaced?: boolean; readonly extra?: Buffer } = {},
): Promise<Buffer> {
  const bytes = await plain(5, 3).png({ progressive: interlaced }).toBuffer();
  const header = bytes.subarray(16, 29);
  header.writeUInt32BE(claimed[0], 0);
  header.writeUInt32BE(claimed[1], 4);
  return Buffer.concat([bytes.subarray(0, 8), chunk('IHDR', header), extra ?? Buffer.alloc(0), bytes.subarray(33)]);
}

/** 200 MB of zeros, compressed, behind a name. */
const zeros = () => Buffer.concat([Buffer.from('name\0\0', 'latin1'), deflateSync(Buffer.alloc(200_000_000))]);

/** AVIF of a size that only its header has. */
async function avifClaiming(width: number, height: number): Promise<Buffer> {
  const bytes = await plain(64, 64).avif({ effort: 0 }).toBuffer();
  const at = bytes.indexOf('ispe') + 8;
  bytes.writeUInt32BE(width, at);
  bytes.writeUInt32BE(height, at + 4);
  return bytes;
}

async function jpegClaiming(width: number, height: number): Promise<Buffer> {
  const bytes = await plain(64, 64).jpeg({ progressive: true }).toBuffer();
  const at = bytes.indexOf(Buffer.of(0xff, 0xc2)) + 5; // Behind the marker, its length and the precision.
  bytes.writeUInt16BE(height, at);
  bytes.writeUInt16BE(width, at + 2);
  return bytes;
}

/** 12,000 x 12,000 of one colour without loss, in 38 bytes, as sharp 0.35 makes it. */
const plainWebp = 'UklGRh4AAABXRUJQVlA4TBEAAAAv3+63CwdQjyJXq/+BiOh/AAA=';

async function animation(side: number, frames: number): Promise<Buffer> {
  const pixels = Buffer.alloc(side * side * 3 * frames);
  for (let frame = 0; frame < frames; frame += 1)
    pixels.fill(frame % 2, frame * side * side * 3, (frame + 1) * side * side * 3);
  const raw = { width: side, height: side * frames, channels: 3, pageHeight: side } as const;
  return await sharp(pixels, { raw, limitInputPixels: false }).gif({ effort: 1 }).toBuffer();
}

const smallJpeg = () => plain(64, 64).jpeg().toBuffer();
const manyFrames = async () => {
  const frame = await plain(16, 16).webp({ lossless: true }).toBuffer();
  return animatedWebp(frame, { width: 16, height: 16 }, 100_000, { frameWidth: 16, frameHeight: 16 });
};

const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="16000" height="16000"><rect width="9" height="9"/></svg>';

describe.skipIf(process.platform !== 'linux')('within 300 MB and 2 s', () => {
  test.each<readonly [string, string, () => Promise<Buffer> | Buffer]>([
    ['AVIF of 64 megapixels', 'IMAGE_TOO_LARGE', () => avifClaiming(8_000, 8_000)],
    ['AVIF of 17,000 x 17,000', 'IMAGE_TOO_LARGE', () => avifClaiming(17_000, 17_000)],
    ['AVIF of 12 megapixels', '4000 x 3000', () => plain(4_000, 3_000).avif({ effort: 0, quality: 10 }).toBuffer()],
    ['GIF of 48 megapixels', 'IMAGE_TOO_LARGE', () => plain(8_000, 6_000).gif({ effort: 1 }).toBuffer()],
    ['GIF of 28 megapixels', '7000 x 4000', () => plain(7_000, 4_000).gif({ effort: 1 }).toBuffer()],
    ['GIF of 300 frames', '200 x 200', () => animation(200, 300)],
    ['interlaced PNG of 48 megapixels', 'IMAGE_TOO_LARGE', () => png([8_000, 6_000], { interlaced: true })],
    ['interlaced PNG of 20 megapixels', '5000 x 4000', () => plain(5_000, 4_000).png({ progressive: true }).toBuffer()],
    ['PNG of 48 megapixels', '8000 x 6000', () => plain(8_000, 6_000).png().toBuffer()],
    ['PNG of 16,000 x 16,000', 'IMAGE_TOO_LARGE', () => png([16_000, 16_000])],
    ['PNG of more pixels than it has', 'IMAGE_CORRUPT', () => png([7_000, 7_000])],
    ['PNG of a side of 2^31 - 1', 'IMAGE_CORRUPT', () => png([2 ** 31 - 1, 2 ** 31 - 1])],
    ['PNG with 200 MB of profile', '5 x 3', () => png([5, 3], { extra: chunk('iCCP', zeros()) })],
    ['PNG with 200 MB of text', '5 x 3', () => png([5, 3], { extra: chunk('zTXt', zeros()) })],
    ['progressive JPEG of 48 megapixels', 'IMAGE_TOO_LARGE', () => jpegClaiming(8_000, 6_000)],
    [
      'progressive JPEG of 20 megapixels',
      '5000 x 4000',
      () => plain(5_000, 4_000).jpeg({ progressive: true, chromaSubsampling: '4:4:4' }).toBuffer(),
    ],
    ['JPEG of 48 megapixels', '8000 x 6000', () => plain(8_000, 6_000).jpeg().toBuffer()],
    ['WebP of 144 megapixels', 'IMAGE_TOO_LARGE', () => Buffer.from(plainWebp, 'base64')],
    [
      'WebP of 28 megapixels',
      'IMAGE_TOO_LARGE',
      () => plain(7_000, 4_000, 4).webp({ lossless: true, effort: 0 }).toBuffer(),
    ],
    [
      'WebP of 27 megapixels',
      '6750 x 4000',
      () => plain(6_750, 4_000, 4).webp({ lossless: true, effort: 0 }).toBuffer(),
    ],
    ['WebP of 100,000 frames', '16 x 16', manyFrames],
    ['GIF of 1,200,000 frames', '16 x 16', () => animatedGif(16, 1_200_000)],
    ['progressive JPEG of 883 scans', 'IMAGE_TOO_COMPLEX', () => jpegOfManyScans(5_000, 4_000, 883)],
    ['progressive JPEG of 100 scans', '5000 x 4000', () => jpegOfManyScans(5_000, 4_000, 100)],
    [
      'JPEG of 4,900,000 segments',
      'IMAGE_TOO_COMPLEX',
      async () => jpegBeginningWith(repeated(jpegSegment(0xe1, Buffer.alloc(0)), 4_900_000), await smallJpeg()),
    ],
    [
      'JPEG whose EXIF data point to themselves',
      'IMAGE_TOO_COMPLEX',
      async () => jpegBeginningWith(exifOfPointers(1_000), await smallJpeg()),
    ],
    ['AVIF of 225 tiles', '960 x 960', () => avifGrid(64, 15, 15)],
    ['SVG', 'IMAGE_UNSUPPORTED', () => Buffer.from(svg)],
  ])('%s: %s', async (_, outcome, make) => {
    await expectBounded(await make(), outcome);
  });
});
