import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readRecord, readZipDirectory } from '../../../checkpoint/weights/zip-directory.ts';
import { integers } from '../../support/pickle-bytes.ts';
import { expectCheckpointError } from '../../support/thrown.ts';
import { torchArchivePath, writeTorchArchive } from '../../support/torch-archive-file.ts';
import { type ZipFile, zip64End, zipEnd, zipEntry, zipFile, zipHeader } from '../../support/zip-file.ts';

/** Reading these bytes must fail; the message must have the path and these parts. */
function expectInvalid(bytes: Uint8Array, parts: readonly string[]): void {
  const path = writeTorchArchive(bytes);
  expectCheckpointError(() => readZipDirectory(path), 'CHECKPOINT_WEIGHTS_INVALID', [`${path}: expected `, ...parts]);
}

/** `archive/first` has its bytes at 43 to 46, `archive/second` at 90 to 95, where the directory begins. */
function twoRecords(): ZipFile {
  return zipFile([
    ['archive/first', 'one'],
    ['archive/second', 'three'],
  ]);
}

/** The archive of two records with an integer written over another. */
function changed(width: 1 | 2 | 4, value: number, place: (zip: ZipFile) => number): Buffer {
  const zip = twoRecords();
  zip.bytes.set(integers(`${width}`, value), place(zip));
  return zip.bytes;
}

/** The archive of two records with these bytes in place of its end. */
function withEnd(end: (zip: ZipFile) => readonly Buffer[]): Buffer {
  const zip = twoRecords();
  return Buffer.concat([zip.bytes.subarray(0, zip.end), ...end(zip)]);
}

const saturatedEnd = zipEnd(0xffff, 0xffffffff, 0xffffffff);

describe('an archive that is in order', () => {
  test('every record has its place, and its bytes are there', () => {
    const path = writeTorchArchive(twoRecords().bytes);
    const records = [...readZipDirectory(path).values()];
    expect(records).toEqual([
      { name: 'archive/first', offsetBytes: 43, lengthBytes: 3 },
      { name: 'archive/second', offsetBytes: 90, lengthBytes: 5 },
    ]);
    expect(records.map((record) => readRecord(path, record, 5).toString())).toEqual(['one', 'three']);
  });

  test('a record that is longer than its reader wants is not read', () => {
    const path = writeTorchArchive(twoRecords().bytes);
    const record = { name: 'archive/second', offsetBytes: 90, lengthBytes: 5 };
    expectCheckpointError(() => readRecord(path, record, 4), 'CHECKPOINT_WEIGHTS_INVALID', [
      `${path}: expected record archive/second to have at most 4 bytes, got 5.`,
    ]);
  });

  test('a comment after the end is skipped, even one that looks like an end', () => {
    const comment = zipEnd(9, 9, 9);
    const bytes = changed(2, comment.length + 1, ({ end }) => end + 20);
    expect(readZipDirectory(writeTorchArchive(Buffer.concat([bytes, comment, Buffer.from('.')]))).size).toBe(2);
  });

  test('an end in fields of 64 bits is read', () => {
    const bytes = withEnd(({ directory, end }) => [zip64End(2, end - directory, directory, end), saturatedEnd]);
    expect(readZipDirectory(writeTorchArchive(bytes)).size).toBe(2);
  });

  test('a file of ten gigabytes has its records where fields of 64 bits say', () => {
    const path = writeTorchArchive(Buffer.alloc(0));
    const size = 5_000_000_000;
    const names = ['archive/data/0', 'archive/data/1'] as const;
    const headers = [zipHeader(names[0], 0xffffffff), zipHeader(names[1], 0xffffffff)] as const;
    const second = headers[0].length + size;
    const directory = second + headers[1].length + size;
    const entries = Buffer.concat([
      zipEntry(names[0], 0xffffffff, 0, integers('2 2 8 8', 1, 16, size, size)),
      zipEntry(names[1], 0xffffffff, 0xffffffff, integers('2 2 4 2 2 8 8 8', 9, 4, 0, 1, 24, size, size, second)),
    ]);
    const end = [
      zip64End(2, entries.length, directory, directory + entries.length),
      zipEnd(2, entries.length, 0xffffffff),
    ];
    const file = openSync(path, 'w');
    ftruncateSync(file, directory); // A hole, which takes no space on the disk.
    writeSync(file, headers[0], 0, headers[0].length, 0);
    writeSync(file, headers[1], 0, headers[1].length, second);
    const tail = Buffer.concat([entries, ...end]);
    writeSync(file, tail, 0, tail.length, directory);
    closeSync(file);
    expect([...readZipDirectory(path).values()]).toEqual([
      { name: names[0], offsetBytes: headers[0].length, lengthBytes: size },
      { name: names[1], offsetBytes: second + headers[1].length, lengthBytes: size },
    ]);
  });
});

describe('a file that is no whole zip archive', () => {
  test.each([
    ['no bytes', Buffer.alloc(0), 'weights, got an empty file'],
    ['three bytes', Buffer.from('PK\x03'), 'a zip archive, got 3 bytes'],
    [
      'text',
      Buffer.from('version https://git-lfs.github.com/spec/v1\n'),
      'weights, got a Git LFS pointer of 43 bytes. Run `git lfs pull`',
    ],
    ['a beginning alone', Buffer.from('PK\x03\x04'), 'a whole zip archive, got one without the directory at its end'],
  ])('%s is refused', (_, bytes, part) => {
    expectInvalid(bytes, [part]);
  });

  test('an archive that is cut off anywhere is refused', () => {
    const { bytes } = twoRecords();
    for (let length = 1; length < bytes.length; length += 1) expectInvalid(bytes.subarray(0, length), ['zip archive']);
  });

  test('a byte after the end is refused', () => {
    expectInvalid(Buffer.concat([twoRecords().bytes, Buffer.alloc(1)]), ['the directory at its end']);
  });

  test('a folder in place of the file is refused', () => {
    const folder = dirname(torchArchivePath('small/views.bin'));
    expectCheckpointError(() => readZipDirectory(folder), 'CHECKPOINT_FILE_UNREADABLE', [folder, 'got a folder']);
  });

  test('a file that is not there is refused', () => {
    const path = join(dirname(writeTorchArchive(Buffer.alloc(0))), 'other.bin');
    expectCheckpointError(() => readZipDirectory(path), 'CHECKPOINT_FILE_UNREADABLE', [path, 'ENOENT']);
  });
});

describe('a directory that is not in order', () => {
  test.each([
    ['begins after the end', 4, 215, 16, 'the directory before byte 214, got 119 bytes at 215'],
    ['reaches beyond the end', 4, 120, 12, 'the directory before byte 214, got 120 bytes at 95'],
    ['is shorter than its records', 4, 118, 12, 'a directory entry of 60 bytes, got 59 bytes'],
    ['has no records but counts two', 4, 0, 12, '2 records, got 0'],
    ['counts more records than it has', 2, 3, 10, '3 records, got 2'],
    ['counts 65535 records', 2, 0xffff, 10, '65535 records, got 2'],
    ['lies on another disk', 2, 1, 6, 'a zip archive in one part, got disk 1'],
  ] as const)('one that %s is refused', (_, width, value, field, part) => {
    expectInvalid(
      changed(width, value, ({ end }) => end + field),
      [part],
    );
  });

  test('other bytes in its place are refused', () => {
    expectInvalid(
      changed(4, 0, ({ directory }) => directory),
      ['a directory of records, got other bytes'],
    );
  });

  test('a directory of many megabytes is refused before it is read', () => {
    const records = Buffer.alloc(16_000_001);
    const bytes = Buffer.concat([Buffer.from('PK\x03\x04'), records, zipEnd(1, records.length, 4)]);
    expectInvalid(bytes, ['a directory of at most 16000000 bytes, got 16000001']);
  });

  test.each([
    ['another number of records', 3, 119n, 95n, 214n, 'one record count of the directory, got 2 and 3'],
    ['another length', 2, 120n, 95n, 214n, 'one length of the directory, got 119 and 120'],
    ['another place', 2, 119n, 96n, 214n, 'one offset of the directory, got 95 and 96'],
    ['a place of its own after itself', 2, 119n, 95n, 215n, 'the zip64 end of the directory before byte 270, got 215'],
    [
      'a place of its own where it is not',
      2,
      119n,
      95n,
      213n,
      'the zip64 end of the directory at byte 213, got other bytes',
    ],
    [
      'a place of its own beyond all files',
      2,
      119n,
      95n,
      2n ** 64n - 1n,
      'sizes that a file can have, got 18446744073709551615',
    ],
    ['a length beyond all files', 2, 2n ** 63n, 95n, 214n, 'sizes that a file can have, got 9223372036854775808'],
  ] as const)('an end in 64 bits that says %s is refused', (_, count, size, offset, at, part) => {
    expectInvalid(
      withEnd(({ directory, end }) => [zip64End(count, size, offset, at), zipEnd(2, end - directory, directory)]),
      [part],
    );
  });

  test('the largest sizes of 64 bits that are exact are refused where the file is shorter', () => {
    const bytes = withEnd(({ end }) => [zip64End(2, 1, 2 ** 53 - 1, end), saturatedEnd]);
    expectInvalid(bytes, ['the directory before byte 214, got 1 bytes at 9007199254740991']);
  });
});

describe('a record that is not in order', () => {
  const [first, second] = ['archive/first', 'archive/second'];

  test.each([
    ['encrypted', 2, 1, 8, 'record archive/first to be readable, got it encrypted'],
    ['strongly encrypted', 2, 0x41, 8, 'record archive/first to be readable, got it encrypted'],
    ['compressed', 2, 8, 10, 'record archive/first to be stored, got it compressed (method 8)'],
    ['of two sizes', 4, 4, 24, 'record archive/first to be stored in 4 bytes, got 3'],
    ['with a header beyond the file', 4, 300, 42, 'record archive/first to lie before byte 95, got bytes 300 to 343'],
    ['with a header in the directory', 4, 90, 42, 'record archive/first to lie before byte 95, got bytes 90 to 133'],
    ['with a header that is none', 4, 1, 42, 'record archive/first at byte 1, got other bytes'],
    ["with another record's header", 4, 46, 42, 'record archive/first at byte 46, got one of another name'],
    ['with a name longer than the directory', 2, 0xffff, 28, 'a directory entry of 65581 bytes, got 119 bytes'],
    ['with an extra field longer than the directory', 2, 200, 30, 'a directory entry of 259 bytes, got 119 bytes'],
  ] as const)('one that is %s is refused', (_, width, value, field, part) => {
    expectInvalid(
      changed(width, value, (zip) => zip.entry(first) + field),
      [part],
    );
  });

  test.each([
    ['encrypted', 1, 6, 'record archive/first to be readable, got it encrypted'],
    ['compressed', 8, 8, 'record archive/first to be stored, got it compressed (method 8)'],
    ['of another name', 12, 26, 'record archive/first at byte 0, got one of another name'],
    [
      'with an extra field beyond the directory',
      60,
      28,
      'record archive/first to lie before byte 95, got bytes 0 to 106',
    ],
    [
      'with an extra field over the next',
      2,
      28,
      'record archive/second to have bytes of its own, got bytes that archive/first has too',
    ],
  ] as const)('one whose own header says that it is %s is refused', (_, value, field, part) => {
    expectInvalid(
      changed(2, value, (zip) => zip.header(first) + field),
      [part],
    );
  });

  test.each([
    ['beyond the directory', 1000, 'record archive/second to lie before byte 95, got bytes 46 to 1090'],
    [
      'beyond 64 bits where there are none',
      0xffffffff,
      'record archive/second to lie before byte 95, got bytes 46 to 4294967385',
    ],
  ])('one that is longer, %s, is refused', (_, size, part) => {
    const zip = twoRecords();
    zip.bytes.set(integers('4 4', size, size), zip.entry(second) + 20);
    expectInvalid(zip.bytes, [part]);
  });

  test('one over the bytes of the next is refused', () => {
    const zip = twoRecords();
    zip.bytes.set(integers('4 4', 4, 4), zip.entry(first) + 20);
    expectInvalid(zip.bytes, ['record archive/second to have bytes of its own, got bytes that archive/first has too']);
  });

  test('two of one name are refused', () => {
    const { bytes } = zipFile([
      ['archive/data.pkl', 'one'],
      ['archive/data.pkl', 'two'],
    ]);
    expectInvalid(bytes, ['each record once, got archive/data.pkl twice']);
  });

  test.each([
    ['cut off', integers('2', 1), 'record archive/first to have whole extra fields, got one cut off'],
    [
      'longer than there is',
      integers('2 2 8', 9, 9),
      'record archive/first to have whole extra fields, got one cut off',
    ],
    [
      'too short for a size of 64 bits',
      integers('2 2 4', 1, 4),
      'record archive/first to have its sizes in 64 bits, got 4 bytes',
    ],
    [
      'of a size beyond all files',
      integers('2 2 8', 1, 8, 2n ** 63n),
      'sizes that a file can have, got 9223372036854775808',
    ],
  ])('an extra field that is %s is refused', (_, extra, part) => {
    const header = zipHeader(first, 3);
    const entry = zipEntry(first, 0xffffffff, 0, extra);
    expectInvalid(Buffer.concat([header, Buffer.from('one'), entry, zipEnd(1, entry.length, header.length + 3)]), [
      part,
    ]);
  });

  test.each([
    '../first',
    'archive/../first',
    'archive/./first',
    '/archive/first',
    'archive//first',
    'archive/',
    '',
    'archive\\first',
    'archive/first\0',
    'archive/\nfirst',
  ])('one that is called %j is refused', (name) => {
    expectInvalid(zipFile([[name, 'one']]).bytes, [
      `names of records as torch.save writes them, got ${JSON.stringify(name)}`,
    ]);
  });

  test('one whose name is not UTF-8 is refused', () => {
    const zip = twoRecords();
    zip.bytes.writeUInt8(0xff, zip.entry(first) + 46);
    expectInvalid(zip.bytes, ['names of records as torch.save writes them']);
  });
});
