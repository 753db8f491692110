import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { readBmpHeader } from '../../../pipeline/images/formats/bmp-header.ts';
import { unpackRunLengths } from '../../../pipeline/images/formats/bmp-run-lengths.ts';
import { inspectImage } from '../../../pipeline/images/image-decode.ts';
import { noisePicture } from '../../support/costly-images.ts';
import { bitmap, tiff } from '../../support/image-files.ts';

/** Images whose headers were read, which wait for memory and a decoder. */

const options = { maxPixels: 50_000_000, maxSide: 16_384, applyExif: true };
const side = 1_000;

/** Planes of inks, each of which becomes a file of its own. */
function separatePlanes(): Buffer {
  const planes = Array.from({ length: 4 }, (_, plane) => 8 + plane * side * side);
  return tiff(Buffer.alloc(4 * side * side), {
    256: [side],
    257: [side],
    258: [8, 8, 8, 8],
    259: [1],
    262: [5],
    273: planes,
    277: [4],
    278: [side],
    279: planes.map(() => side * side),
    284: [2],
  });
}

describe('an image that waits is not copied:', () => {
  test.each([
    ['TIFF of separate planes', separatePlanes],
    ['TIFF', () => noisePicture(side, side).tiff({ compression: 'none' }).toBuffer()],
    ['GIF', () => noisePicture(side, side).gif().toBuffer()],
    ['PNG', () => noisePicture(side, side).png({ compressionLevel: 0 }).toBuffer()],
  ])('%s', async (_, make) => {
    const bytes = await make();
    await inspectImage(bytes, options);
    const before = process.memoryUsage().arrayBuffers;
    const waiting = await Promise.all(Array.from({ length: 10 }, () => inspectImage(bytes, options)));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(bytes.length);
    for (const image of waiting) expect(await image.decode()).toMatchObject({ width: side, height: side });
  });
});

describe('a TIFF that holds JPEG is decoded in another process, however it says so:', () => {
  const jpegWithin = () => sharp(Buffer.alloc(90 * 70 * 3), { raw: { width: 90, height: 70, channels: 3 } }).tiff();
  const [bitsEntry, compressionTag, ascii, bytes, none] = [2, 259, 2, 1, 0];

  /** Puts an entry of the tag before the right one, which readers of the page pass over. */
  function hide(file: Buffer, type: number, count: number): void {
    const at = file.readUInt32LE(4) + 2 + 12 * bitsEntry;
    file.writeUInt16LE(compressionTag, at);
    file.writeUInt16LE(type, at + 2);
    file.writeUInt32LE(count, at + 4);
    file.writeUInt32LE(1, at + 8);
  }

  test.each([
    ['plainly', (_: Buffer) => undefined],
    ['behind an entry of another type', (file: Buffer) => hide(file, ascii, 1)],
    ['behind an entry without values', (file: Buffer) => hide(file, bytes, none)],
    ['behind a number in the other byte order', (file: Buffer) => void file.write('II\0*', 'latin1')],
  ])('%s', async (_, change) => {
    const file = await jpegWithin().toBuffer();
    change(file);
    expect((await inspectImage(file, options)).costMs).toBe(Number.POSITIVE_INFINITY);
  });
});

test.each([
  ['literals', Buffer.concat([Buffer.of(0, 254), Buffer.alloc(254, 7)])],
  ['runs', Buffer.of(254, 7)],
])('unpacking a bitmap of long %s gives way to other work', async (_, row) => {
  const height = 16_000;
  const rows = Buffer.concat(Array.from({ length: height }, () => Buffer.concat([row, Buffer.of(0, 0)])));
  const file = bitmap(8, [254, height], rows, { compression: 1, palette: Buffer.alloc(1024) });
  const header = readBmpHeader(file);
  if (header === undefined) throw new Error('Expected a header.');
  let turns = 0;
  const countTurn = () => {
    turns += 1;
    turning = setImmediate(countTurn);
  };
  let turning = setImmediate(countTurn);
  expect(await unpackRunLengths(file, header)).toHaveLength(254 * height);
  clearImmediate(turning);
  expect(turns).toBeGreaterThan(2);
});
