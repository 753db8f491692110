import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** What every side is asked: the same files and texts, in lines of JSON. */

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Tasks as the sides know them; a CLIP checkpoint embeds images, or texts where a request has no images. */
export type Task = 'captioning' | 'question-answering' | 'retrieval' | 'clip' | 'image-text-to-text';

export interface Request {
  /** Paths. */
  readonly images: readonly string[];
  /** One for each image, or alone. BLIP is asked about all images with the same one. */
  readonly texts: readonly string[];
  /** Exactly so many tokens are generated. */
  readonly newTokens: number;
}

export interface Answer {
  readonly ms: number;
  /** Of `ms`, the time inside `session.run()`; only of this package. */
  readonly computeMs?: number;
  /** Token ids with the start token, a probability, or an embedding, for each image or text. */
  readonly rows: readonly (readonly number[])[];
}

const examples = readdirSync(`${root}examples`).filter((name) => name.endsWith('.png'));

/** Eight different pictures, so that no side can answer for one what it computed for another. */
export const pictures: readonly string[] = [
  `${root}test/fixtures/images/chelsea.png`,
  ...examples.sort().map((name) => `${root}examples/${name}`),
];

export const text = 'two cats on the picture';

const words = text.split(' ');
const rotated = words.map((_, start) => [...words.slice(start), ...words.slice(0, start)]);
const reversed = rotated.map((order) => order.toReversed());

/** Eight different texts of equal length in tokens, so that OpenVINO needs no padding. */
export const texts: readonly string[] = [...rotated, ...reversed].slice(0, 8).map((order) => order.join(' '));
