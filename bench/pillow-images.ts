import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeImage } from '../pipeline/images/image-decode.ts';
import type { RgbImage } from '../pipeline/images/rgb-image.ts';
import { HandlerError } from '../protocol/errors.ts';

/**
 * Decodes every file of a folder here and with Pillow, and compares the pixels. docs/reference/images.md has the result
 * for Pillow's own test images.
 *
 *     npx tsx bench/pillow-images.ts FOLDER [PYTHON]
 *
 * Prints the outcomes by format, and then each file whose outcome is not equal or close. Both sides give the first
 * frame, turned by its orientation, as RGB. "Close" is at most 3 grey levels anywhere.
 */

const CLOSE_LEVELS = 3;
/** More than the largest test image has. */
const limits = { maxPixels: 200_000_000, maxSide: 100_000, applyExif: true };

interface PillowAnswer {
  readonly format: string | null;
  readonly mode: string | null;
  readonly width?: number;
  readonly height?: number;
  readonly error?: string;
}

const outcomes = ['equal', 'close', 'different', 'refused here only', 'refused in Pillow only', 'both refuse'] as const;
type Outcome = (typeof outcomes)[number];

interface Comparison {
  readonly path: string;
  readonly format: string;
  readonly outcome: Outcome;
  readonly detail: string;
}

/** Reads lines and counted bytes from a stream, in turn. */
class Reader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: AsyncIterable<Buffer>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async #more(): Promise<void> {
    const { value, done } = await this.#chunks.next();
    if (done) throw new Error('Expected an answer for each image, got the end.');
    this.#rest = Buffer.concat([this.#rest, value]);
  }

  async line(): Promise<string> {
    while (!this.#rest.includes(10)) await this.#more();
    return (await this.bytes(this.#rest.indexOf(10) + 1)).toString();
  }

  async bytes(count: number): Promise<Buffer> {
    while (this.#rest.length < count) await this.#more();
    const bytes = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return bytes;
  }
}

async function decodeHere(path: string): Promise<RgbImage | HandlerError> {
  try {
    return await decodeImage(readFileSync(path), limits);
  } catch (thrown) {
    if (thrown instanceof HandlerError) return thrown;
    throw new Error(`Expected an image or its error, got another one for ${path}.`, { cause: thrown });
  }
}

function difference(
  here: RgbImage,
  { width, height }: PillowAnswer,
  data: Buffer,
): { outcome: Outcome; detail: string } {
  const size = `${here.width} x ${here.height}`;
  if (here.width !== width || here.height !== height) {
    return { outcome: 'different', detail: `${size} here, ${width} x ${height} in Pillow` };
  }
  let largest = 0;
  let count = 0;
  data.forEach((value, index) => {
    const levels = Math.abs(value - (here.data[index] ?? 0));
    if (levels > 0) count += 1;
    if (levels > largest) largest = levels;
  });
  const detail = `${size}, ${count} of ${data.length} values differ, by at most ${largest}`;
  if (largest === 0) return { outcome: 'equal', detail };
  return { outcome: largest <= CLOSE_LEVELS ? 'close' : 'different', detail };
}

function compare(here: RgbImage | HandlerError, pillow: PillowAnswer, data: Buffer) {
  if (!(here instanceof HandlerError)) {
    if (pillow.error === undefined) return difference(here, pillow, data);
    return { outcome: 'refused in Pillow only', detail: pillow.error } as const;
  }
  const detail = `${here.code}: ${here.message}`;
  return { outcome: pillow.error === undefined ? 'refused here only' : 'both refuse', detail } as const;
}

async function compareAll(folder: string, python: string): Promise<readonly Comparison[]> {
  const program = fileURLToPath(new URL('pillow_images.py', import.meta.url));
  const child = spawn(python, [program], { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = new Reader(child.stdout);
  const comparisons: Comparison[] = [];
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const path of files.map(({ parentPath, name }) => join(parentPath, name)).sort()) {
    child.stdin.write(`${path}\n`);
    // The other program is ours.
    const pillow = JSON.parse(await answers.line()) as PillowAnswer;
    const data = await answers.bytes((pillow.width ?? 0) * (pillow.height ?? 0) * 3);
    const format = pillow.format === null ? 'unknown to Pillow' : `${pillow.format}`;
    const { outcome, detail } = compare(await decodeHere(path), pillow, data);
    comparisons.push({ path: path.slice(folder.length), format, outcome, detail: `${pillow.mode}: ${detail}` });
  }
  child.stdin.end();
  return comparisons;
}

function printTable(comparisons: readonly Comparison[]): void {
  console.log(`| format | ${outcomes.join(' | ')} |`);
  console.log(`| --- |${' ---: |'.repeat(outcomes.length)}`);
  const formats = [...new Set(comparisons.map(({ format }) => format))].sort();
  for (const format of formats) {
    const ofFormat = comparisons.filter((comparison) => comparison.format === format);
    const counts = outcomes.map((name) => ofFormat.filter(({ outcome }) => outcome === name).length);
    console.log(`| ${format} | ${counts.join(' | ')} |`);
  }
}

const [folder, python = 'python'] = process.argv.slice(2);
if (folder === undefined) throw new Error('Expected a folder of images, got none.');
const comparisons = await compareAll(folder, python);
printTable(comparisons);
for (const { path, format, outcome, detail } of comparisons) {
  if (outcome !== 'equal' && outcome !== 'close') console.log(`${outcome}\t${format}\t${path}\t${detail}`);
}
