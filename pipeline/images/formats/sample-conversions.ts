import { setImmediate } from 'node:timers/promises';
import { CHANNELS } from '../rgb-image.ts';

/**
 * Samples that libvips would convert otherwise than Pillow, or not at all. All take and give bytes, with the channels of a
 * pixel beside each other. They work in parts, so that other work of the thread has its turn.
 */

/** Pixels between two turns: some milliseconds. */
const PIXELS_AT_A_TIME = 300_000;

/** Converts a pixel from one place of the samples to one before it, or the same. */
type Convert = (samples: Uint8Array, from: number, to: number) => void;

/** Converts in place, because a second copy of a large image is what does not fit. */
async function convertAll(samples: Uint8Array, channels: number, convert: Convert): Promise<Uint8Array> {
  const pixelCount = Math.floor(samples.length / channels);
  for (let start = 0; start < pixelCount; start += PIXELS_AT_A_TIME) {
    const end = Math.min(start + PIXELS_AT_A_TIME, pixelCount);
    for (let pixel = start; pixel < end; pixel += 1) convert(samples, pixel * channels, pixel * CHANNELS);
    await setImmediate();
  }
  return samples.subarray(0, pixelCount * CHANNELS);
}

/**
 * Cyan, magenta, yellow, black and further inks, without a profile, as Pillow converts them: each ink takes its part of the
 * light that black leaves.
 */
export function inksToRgb(samples: Uint8Array, channels: number): Promise<Uint8Array> {
  return convertAll(samples, channels, (values, from, to) => {
    const light = 255 - (values[from + 3] ?? 0);
    values[to] = light - dividedBy255((values[from] ?? 0) * light);
    values[to + 1] = light - dividedBy255((values[from + 1] ?? 0) * light);
    values[to + 2] = light - dividedBy255((values[from + 2] ?? 0) * light);
  });
}

/** A product of two bytes, divided by 255 and rounded. */
function dividedBy255(product: number): number {
  const up = product + 128;
  return ((up >> 8) + up) >> 8;
}

/** Red, green, blue and alpha, where the colours were multiplied by alpha. */
export function premultipliedToRgb(samples: Uint8Array, channels: number): Promise<Uint8Array> {
  return convertAll(samples, channels, (values, from, to) => {
    const alpha = values[from + 3] ?? 0;
    for (let channel = 0; channel < CHANNELS; channel += 1) {
      const scaled = alpha === 0 ? 0 : Math.floor(((values[from + channel] ?? 0) * 255) / alpha);
      values[to + channel] = Math.min(scaled, 255);
    }
  });
}

/**
 * CIE L*a*b* under D50, as TIFF stores it: L* from 0 to 255 for 0 to 100, a* and b* with a sign. Pillow's colour management
 * gives the same colours within two levels.
 */
export function labToRgb(samples: Uint8Array, channels: number): Promise<Uint8Array> {
  return convertAll(samples, channels, (values, from, to) => {
    const fy = (((values[from] ?? 0) / 255) * 100 + 16) / 116;
    const x = 0.9642 * lightOf(fy + signed(values[from + 1] ?? 0) / 500);
    const y = lightOf(fy);
    const z = 0.8249 * lightOf(fy - signed(values[from + 2] ?? 0) / 200);
    // XYZ under D50 to linear sRGB, by Bradford adaptation.
    values[to] = srgbByte(3.1338561 * x - 1.6168667 * y - 0.4906146 * z);
    values[to + 1] = srgbByte(-0.9787684 * x + 1.9161415 * y + 0.033454 * z);
    values[to + 2] = srgbByte(0.0719453 * x - 0.2289914 * y + 1.4052427 * z);
  });
}

function signed(byte: number): number {
  return byte > 127 ? byte - 256 : byte;
}

/** The inverse of the function that CIE L*a*b* applies to X, Y and Z. */
function lightOf(value: number): number {
  return value > 6 / 29 ? value * value * value : 3 * (6 / 29) ** 2 * (value - 4 / 29);
}

const GAMMA_STEPS = 8192;
const gammaBytes = Uint8Array.from({ length: GAMMA_STEPS + 1 }, (_, step) => {
  const linear = step / GAMMA_STEPS;
  return Math.round(255 * (linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055));
});

function srgbByte(linear: number): number {
  return gammaBytes[Math.round(Math.min(Math.max(linear, 0), 1) * GAMMA_STEPS)] ?? 0;
}

/** A byte of colour adds so much to red, green or blue, in parts of 64: Pillow's tables (ConvertYCbCr.c). */
const colourParts = (factor: number) =>
  Int16Array.from({ length: 256 }, (_, byte) => Math.trunc(factor * (byte - 128) * 64 + 0.5));
const [redOfRed, greenOfBlue, greenOfRed, blueOfBlue] = [1.402, -0.34414, -0.71414, 1.772].map(colourParts);

/** Light, blue and red (YCbCr), as JPEG has them. */
export function yCbCrToRgb(samples: Uint8Array, channels: number): Promise<Uint8Array> {
  return convertAll(samples, channels, (values, from, to) => {
    const [light, blue, red] = [values[from] ?? 0, values[from + 1] ?? 0, values[from + 2] ?? 0];
    values[to] = clipped(light + ((redOfRed?.[red] ?? 0) >> 6));
    values[to + 1] = clipped(light + (((greenOfBlue?.[blue] ?? 0) + (greenOfRed?.[red] ?? 0)) >> 6));
    values[to + 2] = clipped(light + ((blueOfBlue?.[blue] ?? 0) >> 6));
  });
}

function clipped(value: number): number {
  return Math.min(Math.max(value, 0), 255);
}

/** Two pixels of 12-bit grey in three bytes; a row begins with a whole byte. The upper 8 bits remain. */
export async function packedGreyToRgb(rows: Uint8Array, rowBytes: number, width: number): Promise<Uint8Array> {
  const height = Math.floor(rows.length / rowBytes);
  const colours = Buffer.allocUnsafe(width * height * CHANNELS);
  const rowsAtATime = Math.ceil(PIXELS_AT_A_TIME / width);
  for (let y = 0; y < height; y += 1) {
    if (y % rowsAtATime === rowsAtATime - 1) await setImmediate();
    for (let x = 0, to = y * width * CHANNELS; x < width; x += 1, to += CHANNELS) {
      const at = y * rowBytes + (x >> 1) * 3;
      const odd = (((rows[at + 1] ?? 0) & 15) << 4) | ((rows[at + 2] ?? 0) >> 4);
      const grey = x % 2 === 0 ? (rows[at] ?? 0) : odd;
      colours[to] = grey;
      colours[to + 1] = grey;
      colours[to + 2] = grey;
    }
  }
  return colours;
}

/** Planes of one channel become pixels with all channels. */
export async function interleave(planes: readonly Uint8Array[]): Promise<Uint8Array> {
  const pixelCount = Math.min(...planes.map(({ length }) => length));
  const pixels = Buffer.allocUnsafe(pixelCount * planes.length);
  for (const [channel, plane] of planes.entries()) {
    for (let pixel = 0, to = channel; pixel < pixelCount; pixel += 1, to += planes.length) {
      pixels[to] = plane[pixel] ?? 0;
      if (pixel % PIXELS_AT_A_TIME === PIXELS_AT_A_TIME - 1) await setImmediate();
    }
  }
  return pixels;
}

/** The upper bytes of 16-bit numbers in this machine's order. */
export function upperBytes(samples: Uint8Array): Uint8Array {
  const numbers = new Uint16Array(samples.buffer, samples.byteOffset, samples.byteLength / 2);
  return Uint8Array.from(numbers, (value) => value >> 8);
}
