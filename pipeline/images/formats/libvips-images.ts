import type { RgbImage } from '../rgb-image.ts';
import { asStillImage, hasTurns } from './avif-boxes.ts';
import type { DecodeOptions, OpenedImage, OpenImage } from './opened-image.ts';
import { exifOrientation, type OrientationSources, readOrientation } from './orientation.ts';
import { readPngChunks, withPixelChecksums } from './png-chunks.ts';
import { decodeInks, decodeRgb, type ImageMetadata, openFile, readMetadata, turn } from './sharp-images.ts';

/** Formats whose files libvips gets as they are. */

type ReadSources = (metadata: ImageMetadata) => OrientationSources;

async function open(bytes: Uint8Array, sharpName: string, sources: ReadSources): Promise<OpenedImage | undefined> {
  const metadata = await readMetadata(bytes);
  if (metadata.format !== sharpName) return undefined;
  const orientation = readOrientation(sources(metadata));
  const { width, pageHeight, height, isProgressive, channels, space } = metadata;
  return {
    // The frames of an animation lie one below the other.
    ...{ width, height: pageHeight ?? height, isProgressive, channels },
    ...(space === 'cmyk' && inkBytes(isProgressive)),
    async decode({ maxPixels, applyExif }) {
      const image = openFile(bytes, maxPixels);
      const turned = applyExif ? turn(image, orientation) : image;
      return space === 'cmyk' ? await decodeInks(turned) : await decodeRgb(turned);
    },
  };
}

/** Inks become light in place. Progressive ones were held twice until then (measured). */
function inkBytes(isProgressive: boolean): Partial<OpenedImage> {
  return { keptBytesPerPixel: 4, ...(isProgressive && { bytesPerPixel: 12.8 }) };
}

const embeddedSources: ReadSources = ({ exif, xmpAsString }) => ({ exif, xmp: xmpAsString });

export const openJpeg: OpenImage = (bytes) => open(bytes, 'jpeg', embeddedSources);

export const openWebp: OpenImage = (bytes) => open(bytes, 'webp', embeddedSources);

/** libvips reads no texts behind the pixels, and no EXIF. */
export const openPng: OpenImage = async (bytes) => {
  const { exif, xmp, isBroken } = readPngChunks(bytes);
  if (isBroken) return undefined;
  const opened = await open(bytes, 'png', () => ({ exif, xmp }));
  return opened && { ...opened, decode: (options) => decodePng(bytes, opened, options) };
};

async function decodePng(bytes: Uint8Array, opened: OpenedImage, options: DecodeOptions): Promise<RgbImage> {
  try {
    return await opened.decode(options);
  } catch (error) {
    const repaired = withPixelChecksums(bytes);
    const again = repaired && (await openPng(repaired));
    if (again === undefined) throw error;
    return await again.decode(options);
  }
}

/**
 * libheif turns images by their own properties. Pillow takes these for their orientation, and an upright one where they have
 * none but EXIF has one; XMP counts without both.
 */
export const openAvif: OpenImage = async (bytes) => {
  const isTurned = hasTurns(bytes);
  return await open(asStillImage(bytes), 'heif', ({ exif, xmpAsString }) => {
    const isUpright = isTurned || (exif !== undefined && exifOrientation(exif) !== undefined);
    return { tagged: isUpright ? 1 : undefined, xmp: xmpAsString };
  });
};
