import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { DecoderPool } from '../../../../pipeline/images/decoders/decoder-pool.ts';
import { decodeImage } from '../../../../pipeline/images/image-decode.ts';
import { jpegOfManyScans, noisePicture, plainPicture } from '../../../support/costly-images.ts';
import { expectHandlerError } from '../../../support/thrown.ts';

/** Images that are decoded in processes of their own. */

const options = { maxPixels: 50_000_000, maxSide: 16_384, applyExif: true };
const call = { cost: 1 };
const IDLE_MS = 100;
const poolOf = (processCount = 2) => new DecoderPool(processCount, IDLE_MS);

/** The processes that decode for this one. Source: Linux, proc(5). */
function decoderIds(): readonly number[] {
  const isOurs = (id: string) => {
    try {
      const [, parent] = /\) \w (\d+)/.exec(readFileSync(`/proc/${id}/stat`, 'utf8')) ?? [];
      return Number(parent) === process.pid && readFileSync(`/proc/${id}/cmdline`, 'utf8').includes('image-decoder');
    } catch {
      return false; // It has ended meanwhile.
    }
  };
  return readdirSync('/proc').filter(isOurs).map(Number);
}

/** Some seconds of work, which is within the limits of structure. */
const costly = () => jpegOfManyScans(5_000, 4_000, 100);

describe.skipIf(process.platform !== 'linux')('a decoder process', () => {
  afterEach(async () => {
    vi.unstubAllEnvs();
    await expect.poll(() => decoderIds(), { timeout: 30_000 }).toEqual([]);
  });

  test.each([
    ['JPEG', () => noisePicture(90, 70).jpeg({ progressive: true }).withMetadata({ orientation: 6 })],
    ['AVIF', () => noisePicture(90, 70).avif({ effort: 0 })],
    ['PNG of one pixel', () => plainPicture(1, 1).png()],
  ])('gives the same pixels as this one: %s', async (_, make) => {
    const bytes = await make().toBuffer();
    const image = await poolOf().decode(bytes, options, call);
    const here = await decodeImage(bytes, options);
    expect({ ...image, data: [...image.data] }).toEqual({ ...here, data: [...here.data] });
  });

  test('decodes several images one after the other, and ends when it is idle', async () => {
    const pool = poolOf();
    const bytes = await plainPicture(2_000, 1_000).webp().toBuffer();
    await pool.decode(bytes, options, call);
    const [first] = decoderIds();
    await pool.decode(bytes, options, call);
    expect(decoderIds()).toEqual([first]);
  });

  test('fails as decoding in this process does, and goes on', async () => {
    const pool = poolOf();
    const bytes = await noisePicture(64, 64).avif({ effort: 0 }).toBuffer();
    const error = await expectHandlerError(pool.decode(bytes.subarray(0, -300), options, call), 'IMAGE_CORRUPT');
    expect(error.message).toBe('Expected a whole AVIF image, got one that does not decode.');
    await expectHandlerError(pool.decode(bytes, { ...options, maxPixels: 10 }, call), 'IMAGE_TOO_LARGE');
    expect(await pool.decode(bytes, options, call)).toMatchObject({ width: 64, height: 64 });
  });

  test('is ended when its request is dropped, and another one takes its place', async () => {
    const pool = poolOf();
    const dropped = new AbortController();
    const reason = new Error('dropped');
    const decoding = pool.decode(costly(), options, { ...call, signal: dropped.signal });
    await expect.poll(() => decoderIds().length, { timeout: 30_000 }).toBe(1);
    const [id] = decoderIds();
    dropped.abort(reason);
    await expect(decoding).rejects.toBe(reason);
    await expect.poll(() => decoderIds(), { timeout: 5_000 }).not.toContain(id);
    expect(await pool.decode(await plainPicture(9, 9).png().toBuffer(), options, call)).toMatchObject({ width: 9 });
  });

  test('is given up when it takes more processor time than it may', async () => {
    const pool = poolOf();
    const decoding = pool.decode(costly(), options, { ...call, decodeTimeoutMs: 50 });
    const error = await expectHandlerError(decoding, 'IMAGE_TOO_COMPLEX');
    expect(error.message).toBe('Expected an image that decodes in 50 ms of processor time, got one that takes longer.');
    expect(decoderIds()).toEqual([]);
  });

  test('that ends over an image fails that image alone', async () => {
    const pool = poolOf();
    const small = await plainPicture(9, 9).png().toBuffer();
    await pool.decode(small, options, call);
    const [id = 0] = decoderIds();
    const startTicks = processorTicks(id);
    const decoding = expectHandlerError(pool.decode(costly(), options, call), 'IMAGE_CORRUPT');
    await expect.poll(() => processorTicks(id) - startTicks, { timeout: 30_000, interval: 20 }).toBeGreaterThan(10);
    process.kill(id, 'SIGKILL');
    expect((await decoding).message).toBe('Expected an image that decodes, got one that ended its decoder.');
    expect(await pool.decode(small, options, call)).toMatchObject({ width: 9 });
  });

  test('knows no tokens, gives way to others, and is ended first where memory is short', async () => {
    vi.stubEnv('BLIP_API_TOKENS', 'secret-token');
    await poolOf().decode(await plainPicture(9, 9).png().toBuffer(), options, call);
    const [id] = decoderIds();
    expect(readFileSync(`/proc/${id}/environ`, 'utf8')).not.toContain('secret-token');
    expect(readFileSync(`/proc/${id}/oom_score_adj`, 'utf8').trim()).toBe('500');
    const nice = readFileSync(`/proc/${id}/stat`, 'utf8').split(') ')[1]?.split(' ')[16];
    expect(nice).toBe('5');
  });

  test('lets no more run at a time than there are slots', async () => {
    const pool = new DecoderPool(2, 5_000); // Neither is idle for so long before all are done.
    const bytes = await noisePicture(300, 300).avif({ effort: 0 }).toBuffer();
    const images = await Promise.all(Array.from({ length: 6 }, () => pool.decode(bytes, options, call)));
    expect(images).toHaveLength(6);
    expect(decoderIds()).toHaveLength(2);
  });

  test('does not keep the process of the server alive while it is idle', async () => {
    const module = new URL('../../../../pipeline/images/decoders/decoder-pool.ts', import.meta.url).href;
    const program = `
      import { DecoderPool } from ${JSON.stringify(module)};
      const pool = new DecoderPool(1, 600_000);
      const png = Buffer.from(${JSON.stringify((await plainPicture(3, 2).png().toBuffer()).toString('base64'))}, 'base64');
      const { width } = await pool.decode(png, ${JSON.stringify(options)}, { cost: 1 });
      console.log(width);
    `;
    const args = ['--import', 'tsx', '--input-type=module', '--eval', program];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 50_000 });
    expect(stdout).toBe('3\n');
  });

  test.each([0, 1, 2])(
    'that cannot start, with %i free descriptors, fails its image and not the server',
    async (free) => {
      const module = new URL('../../../../pipeline/images/decoders/decoder-pool.ts', import.meta.url).href;
      const program = `
      import { closeSync, openSync } from 'node:fs';
      import { DecoderPool } from ${JSON.stringify(module)};
      const pool = new DecoderPool(1, 10);
      const png = Buffer.from(${JSON.stringify((await plainPicture(3, 2).png().toBuffer()).toString('base64'))}, 'base64');
      const decode = () => pool.decode(png, ${JSON.stringify(options)}, { cost: 1 });
      const opened = [];
      try { for (;;) opened.push(openSync('/dev/null', 'r')); } catch {}
      for (let count = 0; count < ${free}; count += 1) closeSync(opened.pop());
      console.log(await decode().catch(({ code }) => code));
      for (const file of opened) closeSync(file);
      console.log((await decode()).width);
    `;
      const limited = ['-c', 'ulimit -n 200; exec "$0" "$@"', process.execPath];
      const args = [...limited, '--import', 'tsx', '--input-type=module', '--eval', program];
      const { stdout } = await promisify(execFile)('sh', args, { timeout: 50_000 });
      expect(stdout).toBe('NOT_READY\n3\n');
    },
  );
});

/** User time in hundredths of a second. */
function processorTicks(id: number): number {
  return Number(readFileSync(`/proc/${id}/stat`, 'utf8').split(') ')[1]?.split(' ')[11]);
}
