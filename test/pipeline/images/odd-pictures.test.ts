import { describe, expect, test } from 'vitest';
import { outcomeOf, readPicture, readPictureGoldens } from '../../support/pillow-outcomes.ts';

/** Pictures of every kind that a reader may get wrong have the pixels that Pillow gives them, to the bit. */

interface Goldens {
  readonly reports: readonly (readonly [file: string, outcome: string])[];
  readonly cases: readonly (readonly [name: string, outcome: string, base64: string])[];
}

const { cases, reports } = readPictureGoldens<Goldens>('odd.json');

/** docs/reference/images.md has the reasons. */
const differences: Readonly<Record<string, RegExp>> = {
  // Pillow does not know BigTIFF in this byte order.
  'TIFF, big in big endian': /^24 x 16 /,
  // libvips has no Zstandard.
  'TIFF, zstd': /^refused$/,
};

test.each(cases)('%s: %s', async (name, outcome, base64) => {
  const here = await outcomeOf(Buffer.from(base64, 'base64'));
  const difference = differences[name];
  if (difference === undefined) expect(here).toBe(outcome);
  else {
    expect(here).toMatch(difference);
    expect(here).not.toBe(outcome);
  }
});

describe('a public report', () => {
  test.each(reports)('%s', async (file, outcome) => {
    expect(await outcomeOf(readPicture(file))).toBe(outcome);
  });

  test('the wrong JPEGs are equal to the right one', async () => {
    const plain = await outcomeOf(readPicture('plain.jpg'));
    expect(await outcomeOf(readPicture('samsung-sos.jpg'))).toBe(plain);
    expect(await outcomeOf(readPicture('junk-between.jpg'))).toBe(plain);
  });
});
