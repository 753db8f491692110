import type { WriteStream } from 'node:tty';
import cliProgress from 'cli-progress';
import type { DownloadProgress } from '../../checkpoint/hub/download.ts';

export interface ProgressDisplay {
  progress(progress: DownloadProgress): void;
  /** Writes a line above the progress. */
  notice(line: string): void;
  /** Leaves the terminal as it was. */
  stop(): void;
}

/** The part of stderr that is needed here. */
export type ProgressStream = Pick<WriteStream, 'write'> & { readonly isTTY?: boolean | undefined };

/** Shows a bar on a terminal, elsewhere a line for each file and each tenth of the whole. */
export function showProgress(stream: ProgressStream): ProgressDisplay {
  return stream.isTTY === true ? progressBar(stream as WriteStream) : progressLines(stream); // A TTY is a WriteStream.
}

function progressBar(stream: WriteStream): ProgressDisplay {
  const bar = new cliProgress.SingleBar(
    {
      stream,
      format: '{bar} {percentage}% of {size} | {eta_formatted} | {file}',
      hideCursor: true,
      linewrap: false,
      gracefulExit: false, // The command itself handles signals.
      etaBuffer: 100,
    },
    cliProgress.Presets.shades_classic,
  );
  let isStarted = false;
  return {
    progress({ file, receivedBytes, totalBytes }) {
      const payload = { file, size: formatBytes(totalBytes) };
      if (!isStarted) bar.start(totalBytes, receivedBytes, payload);
      isStarted = true;
      bar.setTotal(totalBytes);
      bar.update(receivedBytes, payload);
    },
    notice(line) {
      stream.write(`${isStarted ? '\r\x1b[K' : ''}${line}\n`); // The bar is drawn again below the line.
    },
    stop: () => bar.stop(),
  };
}

function progressLines(stream: ProgressStream): ProgressDisplay {
  let shown = '';
  const writeLine = (line: string) => stream.write(`${line}\n`);
  return {
    progress({ file, receivedBytes, totalBytes }) {
      const tenths = totalBytes === 0 ? 10 : Math.floor((receivedBytes * 10) / totalBytes);
      const key = `${file} ${tenths}`;
      if (key === shown) return;
      shown = key;
      writeLine(`${file}: ${tenths * 10} % of ${formatBytes(totalBytes)}`);
    },
    notice: writeLine,
    stop: () => undefined,
  };
}

/** A size in decimal units, as on the Hub's pages. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const step = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** step).toFixed(step === 0 ? 0 : 1)} ${units[step]}`;
}
