/**
 * Names the kind of a file by its first bytes, for messages: formats of images that are not decoded, and files that
 * people send in place of images.
 */

/** Enough for a page's declaration and comments before its first tag. */
const START_BYTES = 1024;

/** Kinds by the first bytes, with their article. A dot is any byte. The first that fits counts. */
const binaryKinds: readonly (readonly [RegExp, string])[] = [
  [/^....ftyp(?:hei[cxms]|hev[cxms])/s, 'a HEIC image'],
  [/^....ftyp(?:mif1|msf1|miaf)....(?:....){0,12}?he[iv][cxms]/s, 'a HEIC image'],
  [/^....ftyp(?:mif1|msf1|miaf)/s, 'a HEIF image'],
  [/^....ftypcrx /s, 'a Canon raw image'],
  [/^....ftypqt {2}/s, 'a QuickTime video'],
  [/^....ftypM4A/s, 'an MP4 sound'],
  [/^....ftyp/s, 'an MP4 video'],
  [/^....(?:moov|mdat|wide)/s, 'a QuickTime video'],
  [/^\xff\x0a|^\0\0\0\x0cJXL \r\n\x87\n/s, 'a JPEG XL image'],
  [/^\0\0\0\x0cjP {2}\r\n\x87\n|^\xff\x4f\xff\x51/s, 'a JPEG 2000 image'],
  [/^II\xbc/s, 'a JPEG XR image'],
  [/^8BPS\0[\x01\x02]/s, 'a Photoshop image'],
  [/^\0\0\x01\0[^\0]\0/s, 'an ICO image'],
  [/^\0\0\x02\0[^\0]\0/s, 'a Windows cursor'],
  [/^icns/s, 'an ICNS image'],
  [/^DDS \x7c/s, 'a DDS image'],
  [/^qoif/s, 'a QOI image'],
  [/^\x76\x2f\x31\x01/s, 'an OpenEXR image'],
  [/^#\?RADIANCE|^#\?RGBE/s, 'a Radiance HDR image'],
  [/^P[1-6][\s#]/s, 'a PNM image'],
  [/^P7\n/s, 'a PAM image'],
  [/^P[Ff]\n/s, 'a PFM image'],
  [/^\x0a[\0-\x05]\x01[\x01\x02\x04\x08]/s, 'a PCX image'],
  [/^\x59\xa6\x6a\x95/s, 'a Sun raster image'],
  [/^\x01\xda[\0\x01][\x01\x02]\0/s, 'an SGI image'],
  [/^FORM....(?:ILBM|PBM )/s, 'an ILBM image'],
  [/^\xd7\xcd\xc6\x9a|^\x01\0\0\0.{36} EMF/s, 'a Windows metafile'],
  [/^gimp xcf/s, 'a GIMP image'],
  [/^AT&TFORM....DJV/s, 'a DjVu document'],
  [/^FUJIFILMCCD-RAW|^IIRO|^IIU\0/s, 'a raw image of a camera'],
  [/^SIMPLE {2}=/s, 'a FITS image'],
  [/^\x89JNG\r\n/s, 'a JNG image'],
  [/^\x8aMNG\r\n/s, 'an MNG animation'],
  [/^FLIF/s, 'a FLIF image'],
  [/^BPG\xfb/s, 'a BPG image'],
  [/^RIFF....AVI /s, 'an AVI video'],
  [/^RIFF....WAVE/s, 'a WAVE sound'],
  [/^RIFF....ACON/s, 'an animated Windows cursor'],
  [/^RIFF/s, 'a RIFF file of another kind'],
  [/^\x1a\x45\xdf\xa3/s, 'a Matroska or WebM video'],
  [/^\0\0\x01[\xb3\xba]/s, 'an MPEG video'],
  [/^FLV\x01/s, 'a Flash video'],
  [/^[FC]WS[\x01-\x20]/s, 'a Flash animation'],
  [/^OggS/s, 'an Ogg file'],
  [/^ID3[\x02-\x04]|^\xff[\xfb\xf3\xf2]/s, 'an MP3 sound'],
  [/^fLaC/s, 'a FLAC sound'],
  [/^%PDF-/s, 'a PDF document'],
  [/^%!PS|^\xc5\xd0\xd3\xc6/s, 'a PostScript document'],
  [/^\x1f\x8b\x08/s, 'gzip data'],
  [/^BZh[1-9]1AY/s, 'bzip2 data'],
  [/^\xfd7zXZ\0/s, 'xz data'],
  [/^\x28\xb5\x2f\xfd/s, 'Zstandard data'],
  [/^PK(?:\x03\x04|\x05\x06)/s, 'a ZIP archive'],
  [/^7z\xbc\xaf\x27\x1c/s, 'a 7z archive'],
  [/^Rar!\x1a\x07/s, 'a RAR archive'],
  [/^.{257}ustar/s, 'a tar archive'],
  [/^\x80[\x02-\x05]/s, 'a Python pickle'],
  [/^\x93NUMPY/s, 'a NumPy array'],
  [/^\x89HDF\r\n/s, 'an HDF5 file'],
  [/^PAR1/s, 'a Parquet file'],
  [/^SQLite format 3\0/s, 'an SQLite database'],
  [/^\x7fELF|^MZ.{58}.\0\0\0|^\xcf\xfa\xed\xfe/s, 'a program'],
  [/^wOF[F2]|^\0\x01\0\0\0[^\0]|^OTTO\0/s, 'a font'],
];

/** Kinds by the first characters that are no space, in lower case. */
const textKinds: readonly (readonly [RegExp, string])[] = [
  [
    /^version https:\/\/git-lfs\.github\.com\/spec\//,
    'a Git LFS pointer in place of its file; fetch it with `git lfs pull`',
  ],
  [/^(?:<\?xml[^>]*>|<!--.*?-->|<!doctype svg[^>]*>|\s)*<svg[\s>]/s, 'an SVG image'],
  [/^(?:<\?xml[^>]*>|<!--.*?-->|\s)*(?:<!doctype html|<html[\s>]|<head[\s>]|<body[\s>])/s, 'an HTML page'],
  [/^<\?xml\s/, 'an XML document'],
  [/^<[a-z!/][^<]*>/, 'a document of markup'],
  [/^data:/, 'a data: URI as text'],
  [/^https?:\/\//, 'a URL as text'],
  [/^\/\* xpm \*\//, 'an XPM image'],
  [/^#define\s+\S+_width\s/, 'an XBM image'],
  [/^[{[]/, 'JSON'],
  [/^(?:\/9j\/|ivborw0kggo|r0lgod|ukligr)/, 'base64 as text'],
];

/**
 * Describes bytes by their beginning, with an article and without quoting them: "a HEIC image", "an HTML page",
 * "no bytes", "120 bytes of text", "120 bytes of another kind".
 */
export function describeFile(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'no bytes';
  const start = Buffer.from(bytes.subarray(0, START_BYTES));
  const binary = kindIn(binaryKinds, start.toString('latin1'));
  if (binary !== undefined) return binary;
  const text = readText(start);
  const kind = text === undefined ? undefined : kindIn(textKinds, text.trimStart().toLowerCase());
  const size = bytes.length === 1 ? '1 byte' : `${bytes.length} bytes`;
  return kind ?? `${size} of ${text === undefined ? 'another kind' : 'text'}`;
}

function kindIn(kinds: readonly (readonly [RegExp, string])[], start: string): string | undefined {
  return kinds.find(([signature]) => signature.test(start))?.[1];
}

/** Bytes as text in UTF-8 or UTF-16, or `undefined` where they hold what no text has. */
function readText(start: Buffer): string | undefined {
  const isUtf16 = start[0] === 0xff && start[1] === 0xfe;
  const text = start.toString(isUtf16 ? 'utf16le' : 'utf8').replace(/^\ufeff/, '');
  // A character may be cut off at the end.
  const whole = text.length < START_BYTES / 4 ? text : text.slice(0, -4);
  return /[\0-\x08\x0e-\x1a\x1c-\x1f\ufffd]/.test(whole) ? undefined : text;
}
