import { type ParseArgsConfig, parseArgs } from 'node:util';
import { errorText } from '../../protocol/error-answer.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { describeFailure } from '../service/failure.ts';

/** The parts that all commands share. */

/**
 * Reads the arguments of a command.
 * @throws HandlerError `INVALID_REQUEST` for an unknown argument.
 */
export function readArguments<const T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (cause) {
    const problem = (cause instanceof Error ? cause.message : String(cause)).split('. ', 1)[0]; // Without Node's advice.
    const message = `${problem?.replace(/\.$/, '')}. Try --help.`;
    throw new HandlerError('INVALID_REQUEST', message, { cause });
  }
}

/**
 * Ends the process quietly when nobody reads its output any more, as in `blip-handler list_models | head -1`. Node ends it
 * with a stack trace otherwise.
 * @param end ends it in another way: `process.exit` aborts while a thread loads the runtime or computes.
 */
export function endWithReader(end: () => void = () => process.exit(process.exitCode ?? 0)): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      end();
    });
  }
}

/** Runs a command to its end. An error goes to stderr as `<code>: <message>`, and the exit code is 1. */
export async function runCommand(command: () => void | Promise<void>): Promise<void> {
  endWithReader();
  try {
    await command();
  } catch (thrown) {
    process.stderr.write(`${errorText(describeFailure(thrown))}\n`);
    process.exitCode = 1;
  }
}

/**
 * Aborts at the first SIGINT or SIGTERM, with a HandlerError `CANCELLED`, so that a command can end in good order: a
 * download keeps what has arrived for the next one. A second signal ends the process as usual.
 */
export function abortOnSignals(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => controller.abort(new HandlerError('CANCELLED', `Ended by ${signal}. Run it again.`)));
  }
  return controller.signal;
}
