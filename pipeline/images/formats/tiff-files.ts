import type { TiffField } from './tiff-directory.ts';
import {
  compressions,
  extraSample,
  FLOAT,
  isPlainYCbCr,
  numberOf,
  type Page,
  photometric,
  tag,
  valuesOf,
} from './tiff-tags.ts';
import { withDirectory } from './tiff-writer.ts';

/** Written as they are. The others are written anew, or not at all, so that libtiff never sees them. */
const keptTags = [
  tag.fillOrder,
  tag.group3,
  tag.group4,
  tag.predictor,
  tag.colourMap,
  tag.tileWidth,
  tag.tileHeight,
  tag.jpegTables,
  tag.chromaSubsampling,
  tag.chromaPosition,
];

const [SHORT, LONG] = [3, 4];

/** Makes a file when it is decoded, and not before: copies of all images that wait would fill the memory. */
export type MakeFile = () => Uint8Array;

/**
 * Files of the page alone, or `undefined` where the file has not all of its strips or tiles.
 */
export function pageFiles(page: Page): readonly MakeFile[] | undefined {
  const { directory, file, compression, isSeparate, samples } = page;
  if (compression === compressions.oldJpeg) {
    const start = numberOf(directory, tag.jpegStart) ?? numberOf(directory, tag.stripOffsets);
    return start === undefined ? undefined : [() => file.subarray(start)];
  }
  const isTiled = directory.fields.has(tag.tileOffsets);
  const [offsets, byteCounts] = isTiled
    ? [valuesOf(directory, tag.tileOffsets), valuesOf(directory, tag.tileBytes)]
    : [valuesOf(directory, tag.stripOffsets), valuesOf(directory, tag.stripBytes)];
  const parts = { isTiled, offsets, byteCounts };
  if (!areWhole(page, parts)) return undefined;
  if (!isSeparate) return [() => write(page, parts)];
  // libvips knows no tiles of separate planes.
  const perPlane = Math.floor(offsets.length / samplesSaid(page));
  return Array.from({ length: samples }, (_, plane) => {
    const own = (values: readonly number[]) => values.slice(plane * perPlane, (plane + 1) * perPlane);
    return () => write(onePlane(page), { isTiled, offsets: own(offsets), byteCounts: own(byteCounts) });
  });
}

/** Whether the file has all strips or tiles to their ends, which libtiff would not miss behind its new directory. */
function areWhole(page: Page, { isTiled, offsets, byteCounts }: Parts): boolean {
  const { directory, file, width, height, samples, bits, compression, isSeparate } = page;
  const hasAllSamples = page.photometric !== photometric.yCbCr || isPlainYCbCr(page);
  const used = isSeparate ? offsets.slice(0, Math.floor((offsets.length * samples) / samplesSaid(page))) : offsets;
  const [partWidth, partHeight] = isTiled
    ? [numberOf(directory, tag.tileWidth) ?? width, numberOf(directory, tag.tileHeight) ?? height]
    : [width, Math.min(numberOf(directory, tag.rowsPerStrip) ?? height, height)];
  const rowBytes = Math.ceil((partWidth * bits * (isSeparate ? 1 : samples)) / 8);
  const strips = Math.ceil(height / partHeight);
  const isInside = (offset: number, index: number) => {
    const rows = isTiled ? partHeight : Math.min(partHeight, height - (index % strips) * partHeight);
    const isStored = compression === compressions.none && hasAllSamples;
    const byteCount = isStored ? rows * rowBytes : (byteCounts[index] ?? 1);
    return offset + byteCount <= file.length;
  };
  return used.length > 0 && used.every(isInside);
}

function samplesSaid({ directory, samples }: Page): number {
  return Math.max(samples, numberOf(directory, tag.samples) ?? samples);
}

/** A plane is grey, where it is not the only one. */
function onePlane(page: Page): Page {
  const colours = page.samples === 1 ? page.photometric : photometric.blackIsZero;
  return { ...page, samples: 1, extraSamples: [], isSeparate: false, photometric: colours };
}

interface Parts {
  readonly isTiled: boolean;
  readonly offsets: readonly number[];
  readonly byteCounts: readonly number[];
}

function write(page: Page, { isTiled, offsets, byteCounts }: Parts): Uint8Array {
  const { directory, file, height } = page;
  const fields = new Map<number, TiffField>();
  for (const key of keptTags) {
    const field = directory.fields.get(key);
    if (field !== undefined) fields.set(key, field);
  }
  const set = (key: number, values: readonly number[], type = LONG) => {
    if (values.length > 0) fields.set(key, { type, values });
  };
  const form = decoderForm(page);
  set(tag.width, [form.width]);
  set(tag.height, [height]);
  set(
    tag.bits,
    Array.from({ length: page.samples }, () => form.bits),
    SHORT,
  );
  set(tag.compression, [page.compression], SHORT);
  set(tag.photometric, [form.photometric], SHORT);
  set(tag.samples, [page.samples], SHORT);
  set(tag.planar, [1], SHORT);
  // libvips would divide by alpha, and round otherwise than Pillow.
  const plainAlpha = page.extraSamples.map((meaning) =>
    meaning === extraSample.associatedAlpha ? extraSample.unassociatedAlpha : meaning,
  );
  set(tag.extraSamples, plainAlpha, SHORT);
  set(
    tag.sampleFormat,
    Array.from({ length: page.samples }, () => form.sampleFormat),
    SHORT,
  );
  set(isTiled ? tag.tileOffsets : tag.stripOffsets, offsets);
  set(isTiled ? tag.tileBytes : tag.stripBytes, byteCounts);
  if (!isTiled) set(tag.rowsPerStrip, [Math.min(numberOf(directory, tag.rowsPerStrip) ?? height, height)]);
  return withDirectory(file, directory.isLittleEndian, fields);
}

/** Samples in a form that the decoder knows: bytes stay as they are, and later code gives them their meaning. */
function decoderForm(page: Page): Pick<Page, 'width' | 'bits' | 'photometric' | 'sampleFormat'> {
  const { width, bits, photometric: colours, sampleFormat } = page;
  if (bits === 12) {
    const rowBytes = Math.ceil((width * bits * page.samples) / 8);
    return { width: rowBytes, bits: 8, photometric: photometric.blackIsZero, sampleFormat: 1 };
  }
  if (colours === photometric.lab || isPlainYCbCr(page))
    return { width, bits, photometric: photometric.rgb, sampleFormat: 1 };
  // Pillow takes bytes with a sign for bytes without, and floats for light in any case.
  if (bits === 8) return { width, bits, photometric: colours, sampleFormat: 1 };
  const isInverted = colours === photometric.whiteIsZero && sampleFormat === FLOAT;
  return { width, bits, photometric: isInverted ? photometric.blackIsZero : colours, sampleFormat };
}
