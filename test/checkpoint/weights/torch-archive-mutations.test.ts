import { readFileSync, writeFileSync } from 'node:fs';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { describe, expect, test } from 'vitest';
import { CheckpointError } from '../../../checkpoint/errors.ts';
import { readTorchArchive } from '../../../checkpoint/weights/torch-archive.ts';
import { readRecord, readZipDirectory } from '../../../checkpoint/weights/zip-directory.ts';
import { torchArchive, torchArchivePath, writeTorchArchive } from '../../support/torch-archive-file.ts';

/** Reading an archive with wrong bytes fails with a CheckpointError, or finds tensors inside the file. */

const ROUNDS = 1000;
/** Bytes that change the meaning most: ends of signed and unsigned numbers, and opcodes of lengths, marks and calls. */
const TELLING_BYTES = Buffer.from('00017f80ff2e28525862637572688a93', 'hex');

type Random = (below: number) => number;

function seededRandom(seed: number): Random {
  const generator = xoroshiro128plus(seed);
  return (below) => uniformInt(generator, 0, below - 1);
}

/** Copies bytes with a few of them changed, cut out or doubled, or with the end cut off. */
function mutate(original: Buffer, random: Random): Buffer {
  let bytes: Buffer = Buffer.from(original);
  const changes = 1 + random(3);
  for (let change = 0; change < changes && bytes.length > 0; change += 1) bytes = mutateOnce(bytes, random);
  return bytes;
}

function mutateOnce(bytes: Buffer, random: Random): Buffer {
  const at = random(bytes.length);
  const kind = random(10);
  if (kind === 0) return bytes.subarray(0, at);
  const length = 1 + random(8);
  if (kind === 1) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
  if (kind === 2) return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
  if (kind < 6) bytes.writeUInt8(TELLING_BYTES[random(TELLING_BYTES.length)] ?? 0, at);
  else if (kind < 8) bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << random(8)), at);
  else bytes.writeUInt8(random(256), at);
  return bytes;
}

/** Reads mutated archives. Every outcome must be one that callers know. */
function expectKnownOutcomes(mutations: (random: Random) => Buffer, seed: number): void {
  const random = seededRandom(seed);
  const path = writeTorchArchive(Buffer.alloc(0));
  const outcomes = { read: 0, refused: 0 };
  for (let round = 0; round < ROUNDS; round += 1) {
    const bytes = mutations(random);
    writeFileSync(path, bytes);
    try {
      for (const { name, offsetBytes, lengthBytes } of readTorchArchive(path)) {
        if (!(offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= bytes.length))
          throw new RangeError(`Tensor ${name} leads out of the file.`);
      }
      outcomes.read += 1;
    } catch (error) {
      const isKnown = error instanceof CheckpointError && error.message.startsWith(`${path}: `);
      if (!isKnown) throw new Error(`Round ${round} of seed ${seed}: ${bytes.toString('base64')}`, { cause: error });
      outcomes.refused += 1;
    }
  }
  expect(outcomes.read, 'some archives are still whole').toBeGreaterThan(ROUNDS / 100);
  expect(outcomes.refused, 'some archives are not').toBeGreaterThan(ROUNDS / 100);
}

describe.each(['views', 'parameters'])('mutations of %s', (name) => {
  const path = torchArchivePath(`small/${name}.bin`);

  test('anywhere in the archive', () => {
    const original = readFileSync(path);
    expectKnownOutcomes((random) => mutate(original, random), 20_261_122);
  });

  test('in its directory', () => {
    const original = readFileSync(path);
    const directory = original.indexOf('PK\x01\x02', 0, 'latin1');
    const [before, after] = [original.subarray(0, directory), original.subarray(directory)];
    expectKnownOutcomes((random) => Buffer.concat([before, mutate(after, random)]), 1);
  });

  test('in its pickle', () => {
    const records = [...readZipDirectory(path).values()];
    const content = new Map(records.map((record) => [record.name, readRecord(path, record, record.lengthBytes)]));
    const pickle = content.get(`${name}/data.pkl`) ?? Buffer.alloc(0);
    const storages = Object.fromEntries(
      [...content]
        .filter(([record]) => record.startsWith(`${name}/data/`))
        .map(([record, bytes]) => [record.slice(`${name}/data/`.length), bytes]),
    );
    expect(Object.keys(storages).length).toBeGreaterThan(1);
    expectKnownOutcomes((random) => torchArchive(mutate(pickle, random), storages), 2);
  });
});
