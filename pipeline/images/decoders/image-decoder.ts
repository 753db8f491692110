import { writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { toHandlerError } from '../../../protocol/errors.ts';
import { decodeImage } from '../image-decode.ts';
import type { DecodeFailure, DecodeRequest, DecoderExhausted, DecoderReady } from './decoder-messages.ts';
import { FrameReader, writeFrame } from './frames.ts';

/** The program of a decoder process: reads files from its standard input, and writes their pixels to its output. */

/** Nice values above 0 give way to ordinary work. */
const PRIORITY = 5;
const WATCH_MS = 100;
/** Where memory is short, the system ends the decoder, and not the server. Source: Linux, proc(5). */
const OUT_OF_MEMORY_SCORE = '500';

giveWay();
// The decoder's own thread goes on when the server has ended. Nobody waits for its pixels then.
process.stdin.once('close', () => process.kill(process.pid, 'SIGKILL'));
await serve();

async function serve(): Promise<void> {
  const reader = new FrameReader(process.stdin);
  await writeFrame(process.stdout, { kind: 'ready' } satisfies DecoderReady);
  for (;;) {
    const request = (await reader.readHeader()) as DecodeRequest | undefined; // Written by our own process.
    const bytes = request && (await reader.readBytes(request.byteCount));
    if (request === undefined || bytes === undefined) return;
    await answer(bytes, request);
  }
}

async function answer(bytes: Uint8Array, { options, decodeTimeoutMs }: DecodeRequest): Promise<void> {
  const watching = decodeTimeoutMs === undefined ? undefined : watchProcessorTime(decodeTimeoutMs);
  try {
    // Once there is an answer, nothing else may be said: the next request would take it for its own.
    const { width, height, data } = await decodeImage(bytes, options).finally(() => clearInterval(watching));
    await writeFrame(process.stdout, { kind: 'decoded', width, height }, data);
  } catch (thrown) {
    const { code, message } = toHandlerError(thrown);
    await writeFrame(process.stdout, { kind: 'failed', code, message } satisfies DecodeFailure);
  }
}

/** Says when decoding has taken so much processor time. Time in which other processes made it wait does not count. */
function watchProcessorTime(limitMs: number): NodeJS.Timeout {
  const start = process.cpuUsage();
  return setInterval(() => {
    const { user, system } = process.cpuUsage(start);
    if ((user + system) / 1_000 < limitMs) return;
    void writeFrame(process.stdout, { kind: 'exhausted' } satisfies DecoderExhausted);
  }, WATCH_MS);
}

function giveWay(): void {
  try {
    setPriority(PRIORITY);
    if (process.platform === 'linux') writeFileSync('/proc/self/oom_score_adj', OUT_OF_MEMORY_SCORE);
  } catch {
    // Some sandboxes forbid both. Decoding does not depend on them.
  }
}
