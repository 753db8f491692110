/** A format that is decoded. */
export interface ImageFormat {
  readonly name: string;
  /** With its article, as messages say it. */
  readonly described: string;
  /** The beginning of its files. A dot is any byte. */
  readonly signature: RegExp;
  /** The most memory that decoding takes for each pixel, for formats that are decoded whole. */
  readonly bytesPerPixel?: number;
}

/** ISO base media files say their kind in a box: the major brand, a version, then compatible brands. */
const avifSignature = /^....ftyp(?:avi[fs]|(?:mif1|msf1|miaf)....(?:....){0,12}?avi[fs])/s;

/** No other format is decoded. Memory: docs/decisions/0012-memory-and-tokens.md. */
export const imageFormats = {
  jpeg: { name: 'JPEG', described: 'a JPEG', signature: /^\xff\xd8\xff/s },
  png: { name: 'PNG', described: 'a PNG', signature: /^\x89PNG\r\n\x1a\n/s },
  webp: { name: 'WebP', described: 'a WebP', signature: /^RIFF....WEBP/s, bytesPerPixel: 8.5 },
  gif: { name: 'GIF', described: 'a GIF', signature: /^GIF8[79]a/s, bytesPerPixel: 7.5 },
  avif: { name: 'AVIF', described: 'an AVIF', signature: avifSignature, bytesPerPixel: 18.8 },
  tiff: { name: 'TIFF', described: 'a TIFF', signature: /^(?:II[*+]\0|MM\0[*+]|MM\*\0|II\0\*)/s },
  // Two letters say little. The size of the header that follows is one of seven.
  bmp: { name: 'BMP', described: 'a BMP', signature: /^BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0/s },
} as const satisfies Record<string, ImageFormat>;

export type FormatKey = keyof typeof imageFormats;

/** How many bytes of a file its signature needs. */
const SIGNATURE_BYTES = 80;

/** The format that the first bytes of a file say, or `undefined` for one that is not decoded. */
export function recognizeFormat(bytes: Uint8Array): FormatKey | undefined {
  const start = Buffer.from(bytes.subarray(0, SIGNATURE_BYTES)).toString('latin1');
  // The keys of a literal are its own.
  return (Object.keys(imageFormats) as FormatKey[]).find((key) => imageFormats[key].signature.test(start));
}
