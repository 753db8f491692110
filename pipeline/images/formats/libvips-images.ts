import type { OpenedImage, OpenImage } from './opened-image.ts';
import { type OrientationSources, readOrientation } from './orientation.ts';
import { readPngChunks } from './png-chunks.ts';
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
    async decode({ maxPixels, applyExif }) {
      const image = openFile(bytes, maxPixels);
      const turned = applyExif ? turn(image, orientation) : image;
      return space === 'cmyk' ? await decodeInks(turned) : await decodeRgb(turned);
    },
  };
}

const embeddedSources: ReadSources = ({ exif, xmpAsString }) => ({ exif, xmp: xmpAsString });

export const openJpeg: OpenImage = (bytes) => open(bytes, 'jpeg', embeddedSources);

export const openWebp: OpenImage = (bytes) => open(bytes, 'webp', embeddedSources);

/** libvips reads neither the chunk `eXIf` nor ImageMagick's text. */
export const openPng: OpenImage = async (bytes) => {
  const { exif, isCutOff } = readPngChunks(bytes);
  if (isCutOff) return undefined;
  return await open(bytes, 'png', ({ comments, xmpAsString }) => {
    const profile = comments?.find(({ keyword }) => keyword === 'Raw profile type exif')?.text;
    return { exif: exif ?? (profile === undefined ? undefined : readRawProfile(profile)), xmp: xmpAsString };
  });
};

/** ImageMagick writes a profile as a line break, its name, its length and hexadecimal digits, on lines of their own. */
function readRawProfile(text: string): Uint8Array {
  return Buffer.from(text.split('\n').slice(3).join(''), 'hex');
}

/** libheif turns images by their own properties. Beside those their EXIF counts for nothing, but their XMP does. */
export const openAvif: OpenImage = (bytes) => open(bytes, 'heif', ({ xmpAsString }) => ({ xmp: xmpAsString }));
