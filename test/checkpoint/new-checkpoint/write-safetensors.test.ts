import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { writeSafetensors } from '../../../checkpoint/new-checkpoint/write-safetensors.ts';
import { readSafetensorsHeader } from '../../../checkpoint/weights/safetensors.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const tensor = (name: string, bytes: Uint8Array) => ({
  name,
  dtype: 'U8' as const,
  shape: [bytes.length],
  lengthBytes: bytes.length,
  read: () => bytes,
});

describe('a file of safetensors', () => {
  test('has each tensor where its table says, and nothing else', async () => {
    const path = join(temporaryFolder(), 'model.safetensors');
    const tensors = [
      tensor('first', Uint8Array.of(1, 2, 3)),
      tensor('none', Uint8Array.of()),
      tensor('é', Uint8Array.of(9)),
    ];
    await writeSafetensors(path, tensors);
    const regions = readSafetensorsHeader(path);
    const bytes = readFileSync(path);
    expect(regions.map(({ name, shape }) => [name, shape])).toEqual([
      ['first', [3]],
      ['none', [0]],
      ['é', [1]],
    ]);
    for (const [index, { offsetBytes, lengthBytes }] of regions.entries())
      expect(bytes.subarray(offsetBytes, offsetBytes + lengthBytes)).toEqual(Buffer.from(tensors[index]?.read() ?? []));
    expect(statSync(path).size).toBe((regions[0]?.offsetBytes ?? 0) + 4);
    expect((regions[0]?.offsetBytes ?? 1) % 64).toBe(0);
  });

  test('is written part after part where a tensor comes in parts', async () => {
    const path = join(temporaryFolder(), 'model.safetensors');
    const inParts = { ...tensor('parts', Uint8Array.of(1, 2, 3)), read: () => [Uint8Array.of(1), Uint8Array.of(2, 3)] };
    await writeSafetensors(path, [inParts, tensor('last', Uint8Array.of(4))]);
    expect([...readFileSync(path).subarray(-4)]).toEqual([1, 2, 3, 4]);
  });

  test('never takes the place of one that is there', async () => {
    const path = join(temporaryFolder({ 'model.safetensors': 'mine' }), 'model.safetensors');
    await expect(writeSafetensors(path, [])).rejects.toMatchObject({ code: 'EEXIST' });
    expect(readFileSync(path, 'utf8')).toBe('mine');
  });

  test('is not written with other bytes than its table says', async () => {
    const path = join(temporaryFolder(), 'model.safetensors');
    const lying = { ...tensor('short', Uint8Array.of(1)), lengthBytes: 2 };
    await expect(writeSafetensors(path, [lying])).rejects.toThrow('short: expected 2 bytes, got 1.');
  });
});
