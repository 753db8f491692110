import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  animatedWebp,
  exifOfPointers,
  jpegBeginningWith,
  jpegOfManyScans,
  jpegSegment,
  plainPicture,
  repeated,
} from '../../test/support/costly-images.ts';
import type { Attack } from './attack.ts';
import { type AttackedServer, captionOnce, startAttackedServer } from './attacked-server.ts';

const PORT = 8_430;
/** The longest that an attack is watched. */
const WATCH_MS = 30_000;
const SAMPLE_MS = 50;

/** Needs a token: images within the limits of bytes and pixels that make a decoder work for long. */
function costlyImages(title: string, count: number, make: () => Promise<Buffer>): Attack {
  return {
    name: `${count} images: ${title}`,
    async run(checkout) {
      const image = (await make()).toString('base64');
      const server = await startAttackedServer(checkout, PORT);
      const sampling = sampleTree(server.pid);
      try {
        await captionOnce(server, 'bystander');
        const { ms: usualMs } = await captionOnce(server, 'bystander');
        const startMs = performance.now();
        const sent = Promise.all(Array.from({ length: count }, () => statusOf(server, image)));
        const over = Promise.race([sent, sleep(WATCH_MS)]);
        const slowestMs = await slowestUntil(over, server);
        const statuses = await over;
        return {
          statuses: statuses === undefined ? `none within ${WATCH_MS / 1_000} s` : [...new Set(statuses)].join(', '),
          'all answered after, ms': Math.round(performance.now() - startMs),
          "another client's answer before the attack, ms": Math.round(usualMs),
          "another client's slowest answer, ms": Math.round(slowestMs),
          'peak memory of all processes, MB': Math.round(sampling.peakMegabytes()),
        };
      } finally {
        sampling.stop();
        await server.stop();
      }
    },
  };
}

async function statusOf({ url }: AttackedServer, image: string): Promise<number> {
  const inputs = [{ name: 'img_url', shape: [1], datatype: 'BYTES', data: [image] }];
  const answer = await fetch(`${url}/v2/models/captioning/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer attacker' },
    body: JSON.stringify({ inputs }),
  }).catch(() => undefined);
  await answer?.arrayBuffer().catch(() => undefined);
  return answer?.status ?? 0;
}

/** Another client's slowest answer until the attack is over. One that has not come by then counts as long as it waited. */
async function slowestUntil(over: Promise<unknown>, server: AttackedServer): Promise<number> {
  let slowestMs = 0;
  for (let isOver = false; !isOver; ) {
    const startMs = performance.now();
    const answer = captionOnce(server, 'bystander');
    const first = await Promise.race([answer, over.then(() => sleep(WATCH_MS))]);
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
    if (first === undefined) return slowestMs;
    isOver = await Promise.race([over.then(() => true), sleep(SAMPLE_MS).then(() => false)]);
  }
  return slowestMs;
}

/** The resident memory of a process and its children, which decode images. */
function sampleTree(pid: number) {
  let peak = 0;
  const timer = setInterval(() => {
    const children = readProcess(pid, `task/${pid}/children`).split(' ').filter(Boolean).map(Number);
    const sum = [pid, ...children].reduce((total, each) => total + residentMegabytes(each), 0);
    peak = Math.max(peak, sum);
  }, SAMPLE_MS);
  return { peakMegabytes: () => peak, stop: () => clearInterval(timer) };
}

function residentMegabytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readProcess(pid, 'status'))?.[1] ?? 0) / 1_000;
}

function readProcess(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

const jpeg = () => plainPicture(64, 64).jpeg().toBuffer();
const manyFrames = async () =>
  animatedWebp(await plainPicture(16, 16).webp({ lossless: true }).toBuffer(), { width: 16, height: 16 }, 100_000, {
    frameWidth: 16,
    frameHeight: 16,
  });
const manyScans = async () => jpegOfManyScans(5_000, 4_000, 883);
const pointers = async () => jpegBeginningWith(exifOfPointers(1_000), await jpeg());
const largestPhoto = () => plainPicture(7_000, 7_000).jpeg().toBuffer();
const emptySegments = async () =>
  jpegBeginningWith(repeated(jpegSegment(0xe1, Buffer.alloc(0)), 4_900_000), await jpeg());

export const costlyImageAttacks: readonly Attack[] = [
  costlyImages('animated WebP of 100,000 frames', 4, manyFrames),
  costlyImages('progressive JPEG of 883 scans', 4, manyScans),
  costlyImages('progressive JPEG of 883 scans', 64, manyScans),
  costlyImages('progressive JPEG of 100 scans', 64, async () => jpegOfManyScans(5_000, 4_000, 100)),
  costlyImages('JPEG of 50 megapixels, as cameras write it', 64, largestPhoto),
  costlyImages('JPEG of 12 kB, whose EXIF data point to themselves', 4, pointers),
  costlyImages('JPEG of 4,900,000 empty segments', 4, emptySegments),
];
