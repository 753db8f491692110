import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { temporaryFolder } from './temporary-folder.ts';

const MAX_GROWTH_BYTES = 232_000_000; // From 65 to 70 MB that sharp and Node take to 300 MB.
const MAX_CPU_MS = 2_000;

const decodeModule = new URL('../../pipeline/images/image-decode.ts', import.meta.url).href;
/** Decodes a file with the limits of the default settings; what it takes is measured from when all is imported. */
const program = `
  import { readFileSync } from 'node:fs';
  import { decodeImage } from ${JSON.stringify(decodeModule)};
  const bytes = readFileSync(process.argv[1]);
  const peakBytes = () => Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
  const before = { peakBytes: peakBytes(), cpu: process.cpuUsage() };
  const outcome = await decodeImage(bytes, { maxPixels: 50_000_000, maxSide: 16_384, applyExif: true }).then(
    ({ width, height }) => width + ' x ' + height,
    ({ code }) => code,
  );
  const { user, system } = process.cpuUsage(before.cpu);
  console.log(JSON.stringify({ outcome, growthBytes: peakBytes() - before.peakBytes, cpuMs: (user + system) / 1000 }));
`;

interface Decoding {
  readonly outcome: string;
  readonly growthBytes: number;
  readonly cpuMs: number;
}

async function decodeApart(bytes: Uint8Array): Promise<Decoding> {
  const path = join(temporaryFolder(), 'image');
  writeFileSync(path, bytes);
  const args = ['--import', 'tsx', '--input-type=module', '--eval', program, path];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return JSON.parse(stdout);
}

/** Decodes a file in a process of its own, and expects it to take no more than one image may. */
export async function expectBounded(bytes: Uint8Array, outcome: string): Promise<void> {
  const decoding = await decodeApart(bytes);
  expect(decoding.outcome).toBe(outcome);
  expect(decoding.growthBytes).toBeLessThan(MAX_GROWTH_BYTES);
  expect(decoding.cpuMs).toBeLessThan(MAX_CPU_MS);
}
