import { type ChildProcess, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import type { Writable } from 'node:stream';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { HandlerError } from '../../../protocol/errors.ts';
import type { ImageDecodeOptions } from '../image-decode.ts';
import { CHANNELS, type RgbImage } from '../rgb-image.ts';
import type { DecodeFailure, DecodeRequest, DecoderMessage } from './decoder-messages.ts';
import { FrameReader, writeFrame } from './frames.ts';

/** Variables that a decoder gets: where libraries lie. It gets no token and no key. */
const keptVariables = /^(?:PATH|LD_LIBRARY_PATH|NODE_PATH|MALLOC_\w+|VIPS_\w+|TZ|SYSTEMROOT|TEMP|TMPDIR)$/i;

/** A process that decodes one image at a time, and can be ended while it does. */
export class DecoderProcess {
  readonly #child: ChildProcess;
  readonly #input: Writable;
  readonly #reader: FrameReader;
  readonly #ended: Promise<void>;
  #isReady = false;
  #hasEnded = false;

  /** @throws HandlerError `NOT_READY` when the system has no process or no pipes for it. */
  constructor() {
    this.#child = startChild();
    // Heard before anything can throw: an error that nobody hears ends the server.
    this.#ended = new Promise((resolve) => {
      const end = () => {
        this.#hasEnded = true;
        resolve();
      };
      this.#child.once('error', end).once('exit', end);
    });
    const { stdin, stdout } = this.#child;
    // Where there are too many open files, the child has no streams.
    if (!stdin || !stdout) throw notStarted();
    this.#input = stdin;
    this.#reader = new FrameReader(stdout);
    // Writing to a process that has ended is no error of ours: the end of its output tells the same.
    stdin.on('error', () => undefined);
  }

  /** Whether it has ended, or was told to. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Ends it, whatever it does. */
  end(): void {
    this.#hasEnded = true;
    this.#child.kill('SIGKILL');
  }

  /** Whether this process may end although the decoder lives. It ends with this process then. */
  setKeepsAlive(keepsAlive: boolean): void {
    for (const handle of [this.#child, this.#child.stdin, this.#child.stdout]) {
      if (handle === null || !isHandle(handle)) continue;
      if (keepsAlive) handle.ref();
      else handle.unref();
    }
  }

  /**
   * Without an answer, the process is of no more use.
   * @throws HandlerError as `decodeImage` does; `IMAGE_CORRUPT` when the process ends over the image; `IMAGE_TOO_COMPLEX`
   *   when it takes more processor time than the bound; `NOT_READY` when it does not start.
   */
  async decode(bytes: Uint8Array, options: ImageDecodeOptions, decodeTimeoutMs?: number): Promise<RgbImage> {
    let answer: RgbImage | DecodeFailure;
    try {
      if (!this.#isReady) await this.#waitUntilReady();
      const { maxPixels, maxSide, applyExif } = options;
      answer = await this.#ask(
        {
          byteCount: bytes.byteLength,
          options: { maxPixels, maxSide, applyExif },
          decodeTimeoutMs,
        },
        bytes,
      );
    } catch (thrown) {
      this.end();
      throw thrown;
    }
    if ('code' in answer) throw new HandlerError(answer.code, answer.message);
    return answer;
  }

  async #ask(request: DecodeRequest, bytes: Uint8Array): Promise<RgbImage | DecodeFailure> {
    void writeFrame(this.#input, request, bytes).catch(() => undefined);
    const answer = await this.#receive();
    if (answer?.kind === 'failed') return answer;
    if (answer?.kind === 'exhausted') throw tooLong(request.decodeTimeoutMs);
    if (answer?.kind !== 'decoded' || !(answer.width * answer.height <= request.options.maxPixels)) throw endedOver();
    const { width, height } = answer;
    const data = await this.#reader.readBytes(width * height * CHANNELS);
    if (data === undefined) throw endedOver();
    return { width, height, data };
  }

  async #waitUntilReady(): Promise<void> {
    const answer = await this.#receive();
    if (answer?.kind !== 'ready') throw notStarted();
    this.#isReady = true;
  }

  async #receive(): Promise<DecoderMessage | undefined> {
    const answer = this.#reader.readHeader() as Promise<DecoderMessage | undefined>; // Written by our own program.
    return await Promise.race([answer, this.#ended.then(() => undefined)]);
  }
}

/** @param timeoutMs the bound of processor time that is exceeded. */
export function tooLong(timeoutMs: number | undefined): HandlerError {
  return new HandlerError(
    'IMAGE_TOO_COMPLEX',
    `Expected an image that decodes in ${timeoutMs} ms of processor time, got one that takes longer.`,
  );
}

function endedOver(): HandlerError {
  return new HandlerError('IMAGE_CORRUPT', 'Expected an image that decodes, got one that ended its decoder.');
}

/** The image is not at fault, and may be sent again. */
function notStarted(cause?: unknown): HandlerError {
  const message =
    'Expected to start a process that decodes this image, but the system has none to give. Try again later.';
  return new HandlerError('NOT_READY', message, { cause });
}

/** A bundle has the program beside this file. The sources have it in TypeScript, which Node 20 reads through tsx. */
/** @throws HandlerError `NOT_READY`, where the system says at once that it cannot. */
function startChild(): ChildProcess {
  const isSource = import.meta.url.endsWith('.ts');
  const program = new URL(isSource ? './image-decoder.ts' : './image-decoder.js', import.meta.url);
  const loader = isSource ? ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href] : [];
  try {
    return spawn(process.execPath, [...loader, fileURLToPath(program)], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: Object.fromEntries(Object.entries(process.env).filter(([name]) => keptVariables.test(name))),
      windowsHide: true,
    });
  } catch (cause) {
    throw notStarted(cause); // Too little memory, for one.
  }
}

function isHandle(value: object): value is { ref(): void; unref(): void } {
  return 'ref' in value && 'unref' in value;
}
