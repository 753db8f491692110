import type { RgbImage } from '../rgb-image.ts';
import type { OpenedImage } from './opened-image.ts';
import {
  inksToRgb,
  interleave,
  labToRgb,
  packedGreyToRgb,
  premultipliedToRgb,
  yCbCrToRgb,
} from './sample-conversions.ts';
import { decodeInks, decodeRaw, decodeRgb, openFile, type SharpImage, turnPixels } from './sharp-images.ts';
import { readTiffPage, type SampleKind, type TiffPage } from './tiff-page.ts';

/** Opens the first page of a TIFF file. As in Pillow, its orientation counts whether one asks for it or not. */
export async function openTiff(bytes: Uint8Array): Promise<OpenedImage | undefined> {
  const page = readTiffPage(bytes);
  if (page === undefined) return undefined;
  const { width, height, bytesPerPixel, orientation, files, samples, isFax, isUnusual } = page;
  return {
    ...{ width, height, bytesPerPixel, isUnusual, isProgressive: false, channels: 3 },
    ...(samples !== 'colours' && { keptBytesPerPixel: 4 }),
    async decode(options) {
      // A JPEG within says its size again.
      const maxPixels = samples === 'packed-12' ? options.maxPixels : width * height;
      // libvips makes black of strips that libtiff cannot read, unless all errors count. Faxes have errors within a line.
      const failOn = isFax ? 'truncated' : 'error';
      const openers = files.map((makeFile) => () => openFile(makeFile(), maxPixels, failOn));
      const stored = await decodePage(openers, page);
      if (stored.width !== width || stored.height !== height) throw new Error('Expected the size of the directory.');
      return await turnPixels(stored, orientation);
    },
  };
}

type OpenFile = () => SharpImage;

async function decodePage(openers: readonly OpenFile[], page: TiffPage): Promise<RgbImage> {
  const [openFirst, ...others] = openers;
  if (openFirst === undefined) throw new Error('Expected a page of at least one sample, got none.');
  if (others.length > 0) return await decodePlanes(openers, page);
  const first = openFirst();
  const { samples, width, height } = page;
  if (samples === 'colours') return await decodeRgb(first);
  if (samples === 'inks') return await decodeInks(first);
  // Grey would become three channels.
  const { data, channels } = await decodeRaw(samples === 'packed-12' ? first.toColourspace('b-w') : first);
  return { width, height, data: await toRgb[samples](data, channels, width) };
}

async function decodePlanes(openers: readonly OpenFile[], { samples, width, height }: TiffPage): Promise<RgbImage> {
  const planes: Uint8Array[] = [];
  for (const open of openers) planes.push((await decodeRaw(open().toColourspace('b-w'))).data);
  const [grey, ...others] = planes;
  // Grey may have alpha, which is dropped as colours' is.
  const isGrey = grey !== undefined && others.length === 1;
  const needed = isGrey ? [grey, grey, grey] : samples === 'colours' ? planes.slice(0, 3) : planes;
  return { width, height, data: await toRgb[samples](await interleave(needed), needed.length, width) };
}

type ToRgb = (samples: Uint8Array, channels: number, width: number) => Promise<Uint8Array>;

const toRgb: Readonly<Record<SampleKind, ToRgb>> = {
  colours: async (samples) => samples,
  inks: inksToRgb,
  lab: labToRgb,
  ycbcr: yCbCrToRgb,
  premultiplied: premultipliedToRgb,
  'packed-12': (rows, _, width) => packedGreyToRgb(rows, Math.ceil((width * 12) / 8), width),
};
