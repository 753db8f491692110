import type { LogOutput } from './log-output.ts';
import { TextLog } from './log-text.ts';
import type { LogFormat } from './server-settings.ts';

/** Decides whether a person reads the log: JSON is for programs. */

type LogStream = Pick<NodeJS.WriteStream, 'hasColors'> & { readonly isTTY?: boolean | undefined };

/** Whether lines on this stream are texts for people. */
export function isForPeople(format: LogFormat, { isTTY }: Pick<LogStream, 'isTTY'> = process.stdout): boolean {
  return format === 'text' || (format === 'auto' && isTTY === true);
}

/** The formatter of log lines on stdout; `undefined` where they stay JSON. */
export function lineFormatter(
  format: LogFormat,
  stream: LogStream = process.stdout,
): ConstructorParameters<typeof LogOutput>[0] {
  if (!isForPeople(format, stream)) return undefined;
  const text = new TextLog({ hasColours: stream.isTTY === true && stream.hasColors() });
  return (line) => text.format(line);
}
