import { readdirSync, readFileSync } from 'node:fs';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { decodeImage, inspectImage } from '../../../../pipeline/images/image-decode.ts';
import { readStructure } from '../../../../pipeline/images/structure/read-structure.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import {
  animatedGif,
  animatedWebp,
  avifGrid,
  exifOfPointers,
  gifOfSubBlocks,
  jpegBeginningWith,
  jpegOfManyScans,
  jpegSegment,
  loopingExif,
  noisePicture,
  plainPicture,
  pngChunk,
  pngWith,
  repeated,
  tiffOfDirectories,
  webpChunk,
  webpOf,
} from '../../../support/costly-images.ts';
import { belowOf, mutateBytes } from '../../../support/mutations.ts';
import { expectHandlerError } from '../../../support/thrown.ts';

/** The parts of files, counted before a decoder sees them. */

const options = { maxPixels: 50_000_000, maxSide: 16_384, applyExif: true };
const jpeg = () => plainPicture(64, 64).jpeg().toBuffer();
const png = () => plainPicture(64, 64).png().toBuffer();
const webp = () => plainPicture(16, 16).webp({ lossless: true }).toBuffer();
const empty = Buffer.alloc(0);
const segments = (marker: number, data: Uint8Array, count: number) => repeated(jpegSegment(marker, data), count);
/** A WebP that may have metadata: 16 x 16, with these flags. */
const extended = (flags: number) => webpChunk('VP8X', Buffer.of(flags, 0, 0, 0, 15, 0, 0, 15, 0, 0));

describe('is refused before a decoder sees it:', () => {
  const refused: readonly (readonly [string, string, () => Promise<Buffer> | Buffer])[] = [
    ['a progressive JPEG of 101 scans', '100 scans', () => jpegOfManyScans(64, 64, 101)],
    [
      'a JPEG of many scans of one component, none of which is progressive',
      '100 scans',
      async () => {
        const file = await noisePicture(16, 16).jpeg().toBuffer();
        const scan = jpegSegment(0xda, Buffer.of(1, 1, 0, 0, 63, 0));
        return Buffer.concat([file.subarray(0, file.indexOf(Buffer.of(0xff, 0xda))), repeated(scan, 101)]);
      },
    ],
    [
      'a JPEG of empty comments',
      '2000 segments',
      async () => jpegBeginningWith(segments(0xfe, empty, 2_100), await jpeg()),
    ],
    [
      'a JPEG of profiles',
      '2000 segments',
      async () => jpegBeginningWith(segments(0xe2, Buffer.from('ICC_PROFILE\0\x01\x01'), 2_100), await jpeg()),
    ],
    [
      'a JPEG of restart intervals',
      '2000 segments',
      async () => jpegBeginningWith(segments(0xdd, Buffer.alloc(2), 2_100), await jpeg()),
    ],
    [
      'a JPEG of fill bytes',
      '1000000 fill bytes',
      async () => jpegBeginningWith(Buffer.alloc(1_100_000, 0xff), await jpeg()),
    ],
    [
      'a JPEG whose EXIF data point to themselves',
      '5000 entries of EXIF',
      async () => jpegBeginningWith(exifOfPointers(4), await jpeg()),
    ],
    [
      'a JPEG whose second EXIF data do',
      '5000 entries of EXIF',
      async () => jpegBeginningWith(Buffer.concat([exifOfPointers(0), exifOfPointers(8)]), await jpeg()),
    ],
    [
      'a PNG whose EXIF data do',
      '5000 entries of EXIF',
      async () => pngWith(pngChunk('eXIf', loopingExif(8)), await png()),
    ],
    [
      'a WebP whose EXIF data do',
      '5000 entries of EXIF',
      async () => webpOf(extended(8), (await webp()).subarray(12), webpChunk('EXIF', loopingExif(8))),
    ],
    ['an AVIF whose EXIF data do', '5000 entries of EXIF', avifOfPointers],
    [
      'a PNG of empty chunks',
      '50000 chunks',
      async () => pngWith(repeated(pngChunk('abCd', empty), 50_001), await png()),
    ],
    [
      'a PNG of compressed texts',
      '100 compressed',
      async () => pngWith(repeated(pngChunk('zTXt', Buffer.from('a\0\0')), 101), await png()),
    ],
    [
      'a WebP of empty chunks',
      '200000 chunks',
      async () => webpOf(extended(0), repeated(webpChunk('abcd', empty), 200_001), (await webp()).subarray(12)),
    ],
    ['a GIF of comments', '10000 extensions', () => animatedGif(16, 1, repeated(Buffer.of(0x21, 0xfe, 0), 10_001))],
    ['a GIF in blocks of one byte', '1000000 blocks', () => gifOfSubBlocks(1_000_001)],
    [
      'an AVIF of empty boxes',
      '10000 boxes',
      async () => Buffer.concat([await avifGrid(16, 1, 1), repeated(Buffer.from('\0\0\0\x08free', 'latin1'), 10_001)]),
    ],
    ['a TIFF of many entries', '1000 entries', () => tiffOfDirectories(1, { entries: 1_001 })],
  ];

  test.each(refused)('%s', async (_, expected, make) => {
    const error = await expectHandlerError(inspectImage(await make(), options), 'IMAGE_TOO_COMPLEX');
    expect(error.message).toMatch(/^Expected an image with at most \d+ [\w, ]+, got more\.$/);
    expect(error.message).toContain(expected);
  });
});

/** An AVIF with EXIF data, in place of which there are pointers. */
async function avifOfPointers(): Promise<Buffer> {
  const file = await plainPicture(64, 64)
    .withExif({ IFD0: { ImageDescription: 'x'.repeat(400) } })
    .avif({ effort: 0 })
    .toBuffer();
  loopingExif(24).copy(file, file.indexOf('II*\0'));
  return file;
}

describe('an animation', () => {
  /** Frames of two colours, of which the first is smaller than the canvas and lies elsewhere on it. */
  const offsetFrame = () => plainPicture(6, 4).webp({ lossless: true }).toBuffer();

  test('of WebP is cut to its first frame, with its canvas, its place and its orientation', async () => {
    const exif = webpChunk(
      'EXIF',
      Buffer.from('II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0', 'latin1'),
    );
    const file = animatedWebp(
      await offsetFrame(),
      { width: 20, height: 10 },
      600,
      { x: 8, y: 2, frameWidth: 6, frameHeight: 4 },
      [exif],
    );
    const { bytes } = readStructure(file);
    expect(bytes.length).toBeLessThan(file.length / 10);
    const whole = await sharp(file, { page: 0 }).removeAlpha().raw().toBuffer();
    const cut = await sharp(bytes).removeAlpha().raw().toBuffer({ resolveWithObject: true });
    expect(cut.info).toMatchObject({ width: 20, height: 10 });
    expect(cut.data.equals(whole)).toBe(true);
    expect(new Set(whole).size).toBeGreaterThan(3); // The canvas around it has another colour.
    expect(await sharp(bytes).metadata()).toMatchObject({ orientation: 6 });
  });

  test('of 100,000 frames is decoded', async () => {
    const file = animatedWebp(await webp(), { width: 16, height: 16 }, 100_000, { frameWidth: 16, frameHeight: 16 });
    expect(await decodeImage(file, options)).toMatchObject({ width: 16, height: 16 });
    expect(await decodeImage(animatedGif(16, 1_000_000), options)).toMatchObject({ width: 16, height: 16 });
  });

  test('of GIF is cut to its first frame', async () => {
    const colours = Buffer.from(Array.from({ length: 24 * 24 * 3 * 5 }, (_, index) => (index * 7) % 251));
    const raw = { width: 24, height: 24 * 5, channels: 3, pageHeight: 24 } as const;
    const file = await sharp(colours, { raw }).gif().toBuffer();
    const { bytes } = readStructure(file);
    expect(bytes.length).toBeLessThan(file.length * 0.7);
    expect((await sharp(bytes).metadata()).pages ?? 1).toBe(1);
    const [cut, whole] = await Promise.all([bytes, file].map((each) => sharp(each).raw().toBuffer()));
    expect(whole && cut?.equals(whole)).toBe(true);
  });

  test.each([
    ['one after the other', {}],
    ['in a circle', { isCircle: true }],
    ['of BigTIFF', { isBig: true }],
  ])('of TIFF is cut to its first directory: %s', (_, changes) => {
    const file = tiffOfDirectories(10, changes);
    const before = Buffer.from(file);
    const { bytes } = readStructure(file);
    expect(file.equals(before)).toBe(true);
    const isChanged = Array.from(file, (byte, index) => byte !== bytes[index]);
    const pointerAt = isChanged.indexOf(true);
    const offsetBytes = 'isBig' in changes ? 8 : 4;
    expect(isChanged.lastIndexOf(true)).toBeLessThan(pointerAt + offsetBytes);
    expect(file.readUInt32LE(pointerAt)).toBe(pointerAt + offsetBytes); // The directories lie one behind the other.
    expect([...bytes.subarray(pointerAt, pointerAt + offsetBytes)]).toEqual(Array(offsetBytes).fill(0));
  });
});

describe('a file that people have', () => {
  const folders = ['test/fixtures/images', 'examples'];
  const files = folders.flatMap((folder) => readdirSync(folder).map((name) => `${folder}/${name}`));
  const images = files.filter((path) => /\.(?:jpe?g|png|webp|gif|avif)$/.test(path));

  test('is handed to the decoder as it is', () => {
    expect(images.length).toBeGreaterThan(3);
    for (const path of images) {
      const bytes = readFileSync(path);
      const structure = readStructure(bytes);
      expect(structure.bytes.buffer, path).toBe(bytes.buffer);
      expect(structure.isUnusual, path).toBe(false);
    }
  });

  test.each([
    ['JPEG', 1, () => noisePicture(900, 700).jpeg().withIccProfile('p3')],
    ['progressive JPEG', 9, () => noisePicture(900, 700).jpeg({ progressive: true, optimiseScans: true })],
    ['PNG', 1, () => noisePicture(900, 700).png()],
    ['WebP', 1, () => noisePicture(90, 70).webp()],
    ['AVIF', 1, () => noisePicture(90, 70).avif({ effort: 0 })],
    [
      'AVIF with alpha, EXIF and a profile',
      1,
      () =>
        noisePicture(90, 70)
          .ensureAlpha(0.5)
          .withExif({ IFD0: { Copyright: 'x' } })
          .withIccProfile('p3')
          .avif({ effort: 0 }),
    ],
    ['TIFF', 1, () => noisePicture(90, 70).tiff({ compression: 'lzw' })],
  ])('is neither copied nor unusual: %s', async (_, passes, make) => {
    const bytes = await make().toBuffer();
    const structure = readStructure(bytes);
    expect(structure.bytes.buffer).toBe(bytes.buffer);
    expect(structure.isUnusual).toBe(false);
    expect(structure.passes).toBeGreaterThanOrEqual(passes);
  });

  test('keeps stray bytes between its segments, and what lies behind its end', async () => {
    const file = jpegBeginningWith(
      Buffer.from('stray bytes'),
      await noisePicture(50, 50).jpeg({ progressive: true }).toBuffer(),
    );
    const trailing = repeated(Buffer.of(0xff, 0xda, 0, 1), 1_000);
    expect(readStructure(Buffer.concat([file, trailing])).passes).toBeLessThan(30);
  });
});

describe('work that the size of an image does not tell makes it unusual:', () => {
  test.each([
    ['a grid of tiles', () => avifGrid(16, 3, 3)],
    ['a TIFF that holds JPEG', () => noisePicture(90, 70).tiff({ compression: 'jpeg' }).toBuffer()],
  ])('%s', async (_, make) => {
    const bytes = await make();
    expect(readStructure(bytes).isUnusual).toBe(true);
  });

  test('it decodes all the same', async () => {
    expect(await decodeImage(await avifGrid(64, 3, 2), options)).toMatchObject({ width: 192, height: 128 });
  });
});

describe('a file with wrong bytes', () => {
  const originals: readonly (readonly [string, () => Promise<Buffer> | Buffer])[] = [
    ['JPEG', () => noisePicture(20, 20).jpeg({ progressive: true }).withMetadata({ orientation: 6 }).toBuffer()],
    ['PNG', () => noisePicture(20, 20).png().withMetadata({ orientation: 6 }).toBuffer()],
    ['WebP', async () => animatedWebp(await webp(), { width: 16, height: 16 }, 3, { frameWidth: 16, frameHeight: 16 })],
    ['GIF', () => animatedGif(16, 3)],
    ['AVIF', avifOfPointers],
    ['grid of AVIF', () => avifGrid(16, 3, 3)],
    ['TIFF', () => tiffOfDirectories(3)],
    ['BigTIFF', () => tiffOfDirectories(3, { isBig: true })],
  ];

  test.each(originals)('is counted or refused, and nothing else: %s', async (_, make) => {
    const original = await make();
    const below = belowOf(20_261_128);
    for (let round = 0; round < 3_000; round += 1) {
      const bytes = mutateBytes(original, below);
      try {
        expect(readStructure(bytes).bytes.length).toBeLessThanOrEqual(bytes.length + 1_000);
      } catch (error) {
        const isKnown = error instanceof HandlerError && error.code === 'IMAGE_TOO_COMPLEX';
        if (!isKnown) throw new Error(`Round ${round}: ${bytes.toString('base64')}`, { cause: error });
      }
    }
  });

  test('is counted in time that follows from its length, whatever lengths it has', () => {
    const start = process.cpuUsage();
    const signatures = [
      '\xff\xd8\xff\xe1',
      '\x89PNG\r\n\x1a\n',
      'RIFF\0\0\0\0WEBP',
      'GIF89a',
      '\0\0\0\x0cftypavif',
      'II*\0\x08\0\0\0',
    ];
    for (const signature of signatures)
      for (const filling of [0x00, 0x01, 0x2c, 0x21, 0x80, 0xff]) {
        const bytes = Buffer.alloc(20_000_000, filling);
        bytes.write(signature, 'latin1');
        try {
          readStructure(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(HandlerError);
        }
      }
    const { user } = process.cpuUsage(start);
    expect(user / 1_000).toBeLessThan(5_000);
  });
});
