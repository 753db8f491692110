import { expect, test } from 'vitest';
import { outcomeOf, readPictureGoldens } from '../../support/pillow-outcomes.ts';

/** A file with wrong, missing or stray bytes decodes here where it decodes in Pillow, to the same pixels. */

type Edit = readonly [at: number, taken: number, put: string];

interface Goldens {
  readonly files: Readonly<Record<string, string>>;
  readonly cases: readonly (readonly [file: string, edits: readonly Edit[], outcome: string])[];
}

const { files, cases } = readPictureGoldens<Goldens>('mutated.json');

/** docs/reference/images.md has the reasons. The others are refused or equal. */
const decodedHereOnly: readonly (readonly [file: RegExp, edits: RegExp])[] = [
  // A marker without a meaning, which libjpeg and browsers skip.
  [/^jpeg/, /^\[\[\d+,0,"ff01"\]\]$/],
  // A code of LZW that stands for nothing yet.
  [/^gif$/, /^\[\[279,1,"a7"\]\]$/],
  [/^gif-animated$/, /^\[\[658,1,"11"\]\]$/],
  // Damage behind the first frame, which begins at byte 44 and ends at byte 856. Decoders get no other frame.
  [/^webp-animated$/, /^\[\[(?:8[6-9]\d|9\d\d|1\d{3}),/],
];

function edit(file: Buffer, edits: readonly Edit[]): Buffer {
  return edits.reduceRight(
    (bytes, [at, taken, put]) =>
      Buffer.concat([bytes.subarray(0, at), Buffer.from(put, 'hex'), bytes.subarray(at + taken)]),
    file,
  );
}

function isKnown(file: string, edits: string): boolean {
  return decodedHereOnly.some(([ofFile, ofEdits]) => ofFile.test(file) && ofEdits.test(edits));
}

test.each(Object.entries(files))('%s', async (file, base64) => {
  const original = Buffer.from(base64, 'base64');
  const ofFile = cases.filter(([name]) => name === file);
  const counts = { decoded: 0, refused: 0, decodedHereOnly: 0 };
  for (const [, edits, outcome] of ofFile) {
    const text = JSON.stringify(edits);
    const here = await outcomeOf(edit(original, edits));
    counts[here === 'refused' ? 'refused' : 'decoded'] += 1;
    // A limit that Pillow has not.
    if (here === 'too large') continue;
    if (outcome === 'refused' && here !== 'refused' && isKnown(file, text)) counts.decodedHereOnly += 1;
    else expect([text, here]).toEqual([text, outcome]);
  }
  expect(counts.decodedHereOnly).toBeLessThan(12);
  expect(counts.decoded).toBeGreaterThan(3);
  expect(counts.refused).toBeGreaterThan(3);
});
