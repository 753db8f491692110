import sharp, { type Metadata, type Sharp } from 'sharp';
import type { RgbImage } from '../rgb-image.ts';
import type { Orientation } from './orientation.ts';
import { inksToRgb, upperBytes } from './sample-conversions.ts';

/** The only file that imports sharp, and with it libvips. */

// Decoded images are large, and none is needed twice.
sharp.cache(false);
sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({
  operation: [
    'VipsForeignLoadJpegBuffer',
    'VipsForeignLoadPngBuffer',
    'VipsForeignLoadWebpBuffer',
    'VipsForeignLoadNsgifBuffer',
    'VipsForeignLoadHeifBuffer',
    'VipsForeignLoadTiffBuffer',
  ],
});

/** A file on its way to pixels. */
export type SharpImage = Sharp;
export type ImageMetadata = Metadata;

export interface RawImage extends RgbImage {
  readonly channels: number;
}

export async function readMetadata(bytes: Uint8Array): Promise<Metadata> {
  return await sharp(bytes, { limitInputPixels: false }).metadata();
}

/**
 * A file that is to be decoded, without its colour profile.
 * @param failOn the faults that make a file corrupt: that it ends early, or each error of its decoder too.
 */
export function openFile(bytes: Uint8Array, maxPixels: number, failOn: 'truncated' | 'error' = 'truncated'): Sharp {
  return sharp(bytes, { limitInputPixels: maxPixels, failOn, ignoreIcc: true });
}

/** Turns an image upright. sharp mirrors before it turns; angles are clockwise. */
export function turn(image: Sharp, orientation: Orientation): Sharp {
  if (orientation === 2 || orientation === 7) image.flop();
  if (orientation === 4 || orientation === 5) image.flip();
  const angles: Readonly<Record<Orientation, number>> = { 1: 0, 2: 0, 3: 180, 4: 0, 5: 90, 6: 90, 7: 90, 8: 270 };
  return angles[orientation] === 0 ? image : image.rotate(angles[orientation]);
}

export async function turnPixels(image: RgbImage, orientation: Orientation): Promise<RgbImage> {
  if (orientation === 1) return image;
  const { width, height, data } = image;
  return await decodeRgb(turn(sharp(data, { raw: { width, height, channels: 3 } }), orientation));
}

/** Alpha is dropped, and grey repeated. */
export async function decodeRgb(image: Sharp): Promise<RgbImage> {
  const { width, height, data } = await decodeRaw(image.removeAlpha().toColourspace('srgb'));
  return { width, height, data };
}

/** Inks become light without a profile. */
export async function decodeInks(image: Sharp): Promise<RgbImage> {
  const isWide = (await image.metadata()).depth === 'ushort';
  const inks = await decodeRaw(image.pipelineColourspace('cmyk').toColourspace('cmyk'), isWide ? 'ushort' : 'uchar');
  const { width, height, channels } = inks;
  return { width, height, data: await inksToRgb(isWide ? upperBytes(inks.data) : inks.data, channels) };
}

/** All channels as they are stored. */
export async function decodeRaw(image: Sharp, depth: 'uchar' | 'ushort' = 'uchar'): Promise<RawImage> {
  const { data, info } = await image.raw({ depth }).toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, channels: info.channels, data };
}
