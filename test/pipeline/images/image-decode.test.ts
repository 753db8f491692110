import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { decodeImage } from '../../../pipeline/images/image-decode.ts';
import type { RgbImage } from '../../../pipeline/images/rgb-image.ts';
import { expectClose } from '../../support/close-to.ts';
import { expectHandlerError } from '../../support/thrown.ts';

const options = { maxPixels: 1_000_000, maxSide: 100_000, applyExif: true };
const [WIDTH, HEIGHT] = [5, 3];

/** `channels` numbers for each of 5 x 3 pixels, all different from their neighbours. */
function samples(channels: number): number[] {
  return Array.from({ length: WIDTH * HEIGHT * channels }, (_, index) => (index * 37 + 11) % 256);
}

function raw(values: readonly number[], channels: 1 | 2 | 3 | 4) {
  return sharp(Uint8Array.from(values), { raw: { width: WIDTH, height: HEIGHT, channels } });
}

/** 16-bit samples whose upper and lower bytes are both the given 8-bit ones. */
function raw16(values: readonly number[], channels: 1 | 2 | 3 | 4) {
  return sharp(
    Uint16Array.from(values, (value) => value * 257),
    { raw: { width: WIDTH, height: HEIGHT, channels } },
  );
}

/** A picture that survives lossy compression: 32 x 32, red above, blue below. */
function flatPicture() {
  const half = (red: number, blue: number) => Array.from({ length: 32 * 16 }, () => [red, 0, blue]).flat();
  return sharp(Uint8Array.from([...half(220, 0), ...half(0, 220)]), { raw: { width: 32, height: 32, channels: 3 } });
}

function expectPixels(image: RgbImage, expected: readonly number[]): void {
  expect({ width: image.width, height: image.height }).toEqual({ width: WIDTH, height: HEIGHT });
  expect(Array.from(image.data)).toEqual(expected);
}

function pixelAt({ width, data }: RgbImage, x: number, y: number): readonly number[] {
  const start = (y * width + x) * 3;
  return Array.from(data.subarray(start, start + 3));
}

describe('images without loss have exactly their pixels', () => {
  const rgb = samples(3);

  test.each([
    ['PNG', () => raw(rgb, 3).png()],
    ['interlaced PNG', () => raw(rgb, 3).png({ progressive: true })],
    ['WebP', () => raw(rgb, 3).webp({ lossless: true })],
  ])('%s', async (_, write) => {
    expectPixels(await decodeImage(await write().toBuffer(), options), rgb);
  });

  test('GIF and palette PNG, of few colours', async () => {
    const colours = [255, 0, 0, 0, 255, 0, 0, 0, 255];
    const few = Array.from({ length: WIDTH * HEIGHT }, (_, index) =>
      colours.slice((index % 3) * 3, (index % 3) * 3 + 3),
    ).flat();
    const palette = await raw(few, 3).png({ palette: true, colours: 4 }).toBuffer();
    expect((await sharp(palette).metadata()).isPalette).toBe(true);
    expectPixels(await decodeImage(palette, options), few);
    expectPixels(await decodeImage(await raw(few, 3).gif().toBuffer(), options), few);
  });

  test('RGBA: alpha is dropped, and the colour under it kept', async () => {
    const rgba = samples(4);
    const opaque = rgba.filter((_, index) => index % 4 !== 3);
    for (const alpha of [0, 1, 128, 255]) {
      const bytes = await raw(
        rgba.map((value, index) => (index % 4 === 3 ? alpha : value)),
        4,
      )
        .png()
        .toBuffer();
      expect((await sharp(bytes).metadata()).hasAlpha).toBe(true);
      expectPixels(await decodeImage(bytes, options), opaque);
    }
  });

  test('grey is repeated', async () => {
    const grey = samples(1);
    const bytes = await raw(grey, 1).toColourspace('b-w').png().toBuffer();
    expect((await sharp(bytes).metadata()).channels).toBe(1);
    expectPixels(
      await decodeImage(bytes, options),
      grey.flatMap((value) => [value, value, value]),
    );
  });

  test('grey with alpha is repeated, without the alpha', async () => {
    const values = samples(2).map((value, index) => (index % 2 === 1 ? 0 : value));
    const bytes = await raw(values, 2).toColourspace('b-w').png().toBuffer();
    expect((await sharp(bytes).metadata()).channels).toBe(2);
    const grey = values.filter((_, index) => index % 2 === 0);
    expectPixels(
      await decodeImage(bytes, options),
      grey.flatMap((value) => [value, value, value]),
    );
  });

  test('black and white of one bit is 0 and 255', async () => {
    const bits = samples(1).map((value) => (value > 127 ? 255 : 0));
    const bytes = await raw(bits, 1).toColourspace('b-w').png({ palette: true, colours: 2, dither: 0 }).toBuffer();
    expectPixels(
      await decodeImage(bytes, options),
      bits.flatMap((value) => [value, value, value]),
    );
  });

  test('grey of 16 bits keeps its upper 8', async () => {
    const grey = samples(1);
    const bytes = await raw16(grey, 1).toColourspace('grey16').png().toBuffer();
    expect(await sharp(bytes).metadata()).toMatchObject({ depth: 'ushort', channels: 1 });
    expectPixels(
      await decodeImage(bytes, options),
      grey.flatMap((value) => [value, value, value]),
    );
  });

  test('RGB of 16 bits keeps its upper 8', async () => {
    const bytes = await raw16(rgb, 3).toColourspace('rgb16').png().toBuffer();
    expect(await sharp(bytes).metadata()).toMatchObject({ depth: 'ushort', channels: 3 });
    expectPixels(await decodeImage(bytes, options), rgb);
  });

  test('RGBA of 16 bits keeps its upper 8, without the alpha', async () => {
    const rgba = samples(4).map((value, index) => (index % 4 === 3 ? 7 : value));
    const bytes = await raw16(rgba, 4).toColourspace('rgb16').png().toBuffer();
    expect(await sharp(bytes).metadata()).toMatchObject({ depth: 'ushort', channels: 4 });
    expectPixels(
      await decodeImage(bytes, options),
      rgba.filter((_, index) => index % 4 !== 3),
    );
  });

  test('a colour profile does not change them', async () => {
    const bytes = await raw(rgb, 3).withIccProfile('p3').png().toBuffer();
    const { data } = await sharp(bytes, { ignoreIcc: true }).raw().toBuffer({ resolveWithObject: true });
    expect((await sharp(bytes).metadata()).icc).toBeDefined();
    expect(Array.from(data)).not.toEqual(rgb); // sharp converted them when it wrote the file.
    expectPixels(await decodeImage(bytes, options), Array.from(data));
  });

  test('an animated GIF has those of its first frame', async () => {
    const frame = (value: number) => Array.from({ length: WIDTH * HEIGHT }, () => [value, 0, 255 - value]).flat();
    const frames = Uint8Array.from([...frame(255), ...frame(0)]);
    const stacked = { width: WIDTH, height: 2 * HEIGHT, channels: 3, pageHeight: HEIGHT } as const;
    const bytes = await sharp(frames, { raw: stacked })
      .gif({ delay: [100, 100] })
      .toBuffer();
    expect((await sharp(bytes).metadata()).pages).toBe(2);
    expectPixels(await decodeImage(bytes, options), frame(255));
  });
});

describe('images with loss have about their pixels', () => {
  test.each([
    ['JPEG', () => flatPicture().jpeg({ quality: 95 })],
    ['progressive JPEG', () => flatPicture().jpeg({ quality: 95, progressive: true })],
    ['WebP', () => flatPicture().webp({ quality: 95 })],
    ['AVIF', () => flatPicture().avif({ quality: 90 })],
    ['CMYK JPEG', () => flatPicture().toColourspace('cmyk').jpeg({ quality: 95 })],
  ])('%s', async (format, write) => {
    const image = await decodeImage(await write().toBuffer(), options);
    expect(image).toMatchObject({ width: 32, height: 32 });
    expect(image.data.length).toBe(32 * 32 * 3);
    const absolute = format === 'CMYK JPEG' ? 90 : 12; // Print inks reach neither colour.
    expectClose(pixelAt(image, 16, 4), [220, 0, 0], { absolute });
    expectClose(pixelAt(image, 16, 28), [0, 0, 220], { absolute });
  });

  test('a grey JPEG', async () => {
    const grey = Uint8Array.from({ length: 16 * 16 }, () => 77);
    const picture = sharp(grey, { raw: { width: 16, height: 16, channels: 1 } }).toColourspace('b-w');
    const image = await decodeImage(await picture.jpeg({ quality: 95 }).toBuffer(), options);
    expect(image.data.length).toBe(16 * 16 * 3);
    expectClose(image.data, new Uint8Array(16 * 16 * 3).fill(77), { absolute: 2 });
  });
});

describe('the EXIF orientation', () => {
  /** As stored: red green blue above yellow cyan magenta, 16 pixels each. */
  const stored = ['rgb', 'ycm'];
  const colours: Readonly<Record<string, readonly [number, number, number]>> = {
    r: [255, 0, 0],
    g: [0, 255, 0],
    b: [0, 0, 255],
    y: [255, 255, 0],
    c: [0, 255, 255],
    m: [255, 0, 255],
  };
  /** How each orientation is shown: EXIF 2.32, tag 274. */
  const shown: readonly (readonly [orientation: number, rows: readonly string[]])[] = [
    [1, ['rgb', 'ycm']],
    [2, ['bgr', 'mcy']],
    [3, ['mcy', 'bgr']],
    [4, ['ycm', 'rgb']],
    [5, ['ry', 'gc', 'bm']],
    [6, ['yr', 'cg', 'mb']],
    [7, ['mb', 'cg', 'yr']],
    [8, ['bm', 'gc', 'ry']],
  ];

  async function photo(orientation: number): Promise<Buffer> {
    const pixels = Array.from({ length: 32 }, (_, y) =>
      Array.from({ length: 48 }, (_, x) => colours[stored[y >> 4]?.[x >> 4] ?? ''] ?? [0, 0, 0]),
    );
    return await sharp(Uint8Array.from(pixels.flat(2)), { raw: { width: 48, height: 32, channels: 3 } })
      .jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
      .withMetadata({ orientation })
      .toBuffer();
  }

  /** The colour in the middle of each 16 x 16 block. */
  function blocks(image: RgbImage): readonly string[] {
    const nameAt = (x: number, y: number) => {
      const bright = pixelAt(image, x, y).map((value) => (value > 127 ? 255 : 0));
      return (
        Object.keys(colours).find((name) => colours[name]?.every((value, channel) => value === bright[channel])) ?? '?'
      );
    };
    return Array.from({ length: image.height / 16 }, (_, row) =>
      Array.from({ length: image.width / 16 }, (_, column) => nameAt(column * 16 + 8, row * 16 + 8)).join(''),
    );
  }

  test.each(shown)('%d is applied', async (orientation, rows) => {
    expect(blocks(await decodeImage(await photo(orientation), options))).toEqual(rows);
  });

  test.each(shown)('%d is ignored where that is asked for', async (orientation) => {
    expect(blocks(await decodeImage(await photo(orientation), { ...options, applyExif: false }))).toEqual(stored);
  });
});

/** Words that only the decoder would use. */
const decoderWords = /vips|libspng|libpng|spng|sharp|heif|nsgif|buffer|premature|VipsJpeg|operation/i;

describe('a file that is not an image of a known format', () => {
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><text>secret</text></svg>';
  const unsupported: readonly (readonly [string, () => Uint8Array | Promise<Uint8Array>, string])[] = [
    ['SVG', () => Buffer.from(svg), 'an SVG image'],
    ['SVG with an XML declaration', () => Buffer.from(`\n<?xml version="1.0"?>${svg}`), 'an SVG image'],
    ['PDF', () => Buffer.from('%PDF-1.4\nsecret'), 'a PDF document'],
    ['HTML', () => Buffer.from('<!DOCTYPE html><p>secret</p>'), 'an HTML page'],
    ['HTML without a declaration', () => Buffer.from('  <html><p>secret</p>'), 'an HTML page'],
    ['JSON', () => Buffer.from('{"secret":1}'), 'JSON'],
    ['a picture in an unknown wrapping', () => Buffer.from('P6 1 1 255 abc'), 'a PNM image'],
    ['no bytes', () => new Uint8Array(), 'no bytes'],
    ['one byte', () => Uint8Array.of(0xff), '1 byte of another kind'],
    ['random bytes', () => Buffer.concat([Buffer.from([0]), randomBytes(5000)]), '5001 bytes of another kind'],
  ];

  test.each(unsupported)('%s is refused, without a quotation', async (_, make, described) => {
    const error = await expectHandlerError(decodeImage(await make(), options), 'IMAGE_UNSUPPORTED');
    expect(error.message).toContain('Expected a JPEG, PNG, WebP, GIF, AVIF, TIFF or BMP image, got ');
    expect(error.message).toContain(described);
    expect(error.message).not.toContain('secret');
    expect(error.message).not.toMatch(decoderWords);
  });
});

describe('images that are not whole', () => {
  const noise = () => sharp(randomBytes(64 * 64 * 3), { raw: { width: 64, height: 64, channels: 3 } });
  const whole = {
    JPEG: () => noise().jpeg().toBuffer(),
    'progressive JPEG': () => noise().jpeg({ progressive: true }).toBuffer(),
    PNG: () => noise().png().toBuffer(),
    'lossless WebP': () => noise().webp({ lossless: true }).toBuffer(),
    GIF: () => noise().gif().toBuffer(),
    AVIF: () => noise().avif().toBuffer(),
  };

  test.each(Object.entries(whole))('the first half of a %s is refused', async (_, make) => {
    const bytes = await make();
    const half = bytes.subarray(0, bytes.length / 2);
    const error = await expectHandlerError(decodeImage(half, options), 'IMAGE_CORRUPT');
    expect(error.message).toMatch(/^Expected a whole \w+ image, got one that does not decode\.$/);
    expect(error.message).not.toMatch(decoderWords);
    expect(error.cause).toBeInstanceOf(Error);
  });

  test.each(['JPEG', 'PNG'] as const)('a %s without its last tenth is refused', async (format) => {
    const bytes = await whole[format]();
    await expectHandlerError(decodeImage(bytes.subarray(0, bytes.length * 0.9), options), 'IMAGE_CORRUPT');
  });

  test('a PNG with a wrong checksum in its pixels is refused', async () => {
    const bytes = await whole.PNG();
    const middle = bytes.length >> 1;
    bytes[middle] = (bytes[middle] ?? 0) ^ 0xff;
    await expectHandlerError(decodeImage(bytes, options), 'IMAGE_CORRUPT');
  });
});

describe('the limit of pixels', () => {
  /** A PNG whose header claims another size than its few pixels have. */
  async function claiming(width: number, height: number): Promise<Buffer> {
    const bytes = await raw(samples(3), 3).png().toBuffer();
    bytes.writeUInt32BE(width, 16);
    bytes.writeUInt32BE(height, 20);
    bytes.writeUInt32BE(crc32(bytes.subarray(12, 29)), 29);
    return bytes;
  }

  test('is held against the header, before anything is decoded', async () => {
    const bytes = await claiming(50_000, 40_000); // Decoding it would be IMAGE_CORRUPT.
    const error = await expectHandlerError(decodeImage(bytes, options), 'IMAGE_TOO_LARGE');
    expect(error.message).toBe('Expected a PNG image of at most 1000000 pixels, got 50000 x 40000.');
  });

  test('a side that is too long is refused, however few pixels there are', async () => {
    const error = await expectHandlerError(
      decodeImage(await claiming(20_000, 1), { ...options, maxSide: 16_384 }),
      'IMAGE_TOO_LARGE',
    );
    expect(error.message).toBe('Expected a PNG image with sides of at most 16384 pixels, got 20000 x 1.');
  });

  test('AVIF has a smaller limit of its own, because its decoder takes more memory', async () => {
    const create = { width: 4200, height: 4000, channels: 3, background: 'red' } as const;
    const bytes = await sharp({ create }).avif({ effort: 0, quality: 10 }).toBuffer();
    const error = await expectHandlerError(
      decodeImage(bytes, { ...options, maxPixels: 50_000_000 }),
      'IMAGE_TOO_LARGE',
    );
    expect(error.message).toBe('Expected an AVIF image of at most 12234042 pixels, got 4200 x 4000.');
  });

  test('a header that claims more than there is, within the limit, is corrupt', async () => {
    await expectHandlerError(decodeImage(await claiming(500, 400), options), 'IMAGE_CORRUPT');
  });

  test('an image of exactly the limit is decoded, one of a pixel more is not', async () => {
    const bytes = await raw(samples(3), 3).png().toBuffer();
    const exact = await decodeImage(bytes, { ...options, maxPixels: WIDTH * HEIGHT });
    expectPixels(exact, samples(3));
    await expectHandlerError(decodeImage(bytes, { ...options, maxPixels: WIDTH * HEIGHT - 1 }), 'IMAGE_TOO_LARGE');
  });

  test('counts one frame of an animation', async () => {
    const stacked = { width: WIDTH, height: 4 * HEIGHT, channels: 3, pageHeight: HEIGHT } as const;
    const frames = Uint8Array.from({ length: WIDTH * HEIGHT * 3 * 4 }, (_, index) => (index % 3) * 100);
    const bytes = await sharp(frames, { raw: stacked })
      .gif({ delay: [50, 60, 70, 80] })
      .toBuffer();
    const image = await decodeImage(bytes, { ...options, maxPixels: WIDTH * HEIGHT });
    expect(image).toMatchObject({ width: WIDTH, height: HEIGHT });
  });
});
