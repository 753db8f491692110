import { writeSync } from 'node:fs';

/** How often a full pipe is tried before its line is lost, and how long the process waits in between. */
const MAX_TRIES = 5;
const PAUSE_MS = 2;
const STDOUT = 1;

type WriteBytes = (bytes: Uint8Array) => number;
type FormatLine = (line: string) => string;

/**
 * Where log lines go: stdout, at once, so that none is missing when the process ends. A line that cannot be written is lost
 * and counted, because the service matters more than its log: pino's own output tries again for ever when the disk is full,
 * and nothing else goes on meanwhile.
 */
export class LogOutput {
  readonly #writeBytes: WriteBytes;
  readonly #format: FormatLine;
  #lostLines = 0;
  /** The last thing written is the beginning of a lost line. */
  #isMidLine = false;

  /**
   * @param format makes another text of each line of JSON; an empty one is not written.
   * @param writeBytes writes to a file, and returns the number of bytes written or throws an error of the system.
   */
  constructor(format: FormatLine = (line) => line, writeBytes: WriteBytes = (bytes) => writeSync(STDOUT, bytes)) {
    this.#format = format;
    this.#writeBytes = writeBytes;
  }

  /** Writes a line that ends with a line break. Never throws. */
  write(line: string): void {
    if (this.#lostLines > 0 && this.#tryToWrite(lostNotice(this.#lostLines))) this.#lostLines = 0;
    if (!this.#tryToWrite(line)) this.#lostLines += 1;
  }

  /** @returns whether all of it was written. */
  #tryToWrite(line: string): boolean {
    const text = this.#format(line);
    const bytes = Buffer.from(this.#isMidLine && text !== '' ? `\n${text}` : text);
    const rest = this.#writeMost(bytes);
    if (rest.length < bytes.length) this.#isMidLine = rest.length > 0;
    return rest.length === 0;
  }

  /** @returns the bytes that could not be written. */
  #writeMost(bytes: Uint8Array): Uint8Array {
    let rest = bytes;
    for (let tries = 0; tries < MAX_TRIES && rest.length > 0; tries += 1) {
      try {
        rest = rest.subarray(this.#writeBytes(rest));
      } catch (thrown) {
        if (!isBusy(thrown)) return rest;
        pause();
      }
    }
    return rest;
  }
}

function lostNotice(lineCount: number): string {
  const level = 40; // Pino's number for a warning.
  return `${JSON.stringify({ level, time: Date.now(), pid: process.pid, lines: lineCount, msg: 'log lines lost' })}\n`;
}

/** Whether the reader of a pipe is only behind. */
function isBusy(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && (thrown.code === 'EAGAIN' || thrown.code === 'EBUSY');
}

function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
}
