import { type ParseArgsConfig, parseArgs } from 'node:util';
import { errorText } from '../../protocol/error-answer.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { suggestion } from '../../protocol/known-names.ts';
import { describeFailure } from '../service/failure.ts';
import { isHelpAsked } from './help-asked.ts';

/** The parts that all commands share. */

/** Options that every command has. */
const sharedOptions = {
  help: { type: 'boolean', short: 'h' },
  'env-file': { type: 'string', multiple: true },
} as const satisfies ParseArgsConfig['options'];

/** Names that options have in other programs. */
const usualOptions: Readonly<Record<string, string>> = {
  model: 'checkpoint',
  'model-id': 'checkpoint',
  'model-path': 'checkpoint',
  token: 'api-tokens',
  'api-key': 'api-tokens',
  bind: 'host',
  address: 'host',
  device: 'execution-provider',
};

/** Lines of every help text. */
export const sharedHelp = `  --env-file FILE      reads variables from a file first, NAME=VALUE a line; variables that are set win
  --help               this text
`;

/**
 * Reads the arguments of a command. The variables of `--env-file` are set by then.
 * @throws HandlerError `INVALID_REQUEST` for an unknown argument, or a file that cannot be read.
 */
export function readArguments<const T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>> {
  const options = { ...config.options, ...sharedOptions };
  const parsed = parseKnown({ ...config, options }, Object.keys(options));
  const files = parsed.values['env-file'];
  // The last file wins, as in Node's own option; a variable that is set stays.
  if (Array.isArray(files)) files.toReversed().forEach(loadVariables);
  return parsed as ReturnType<typeof parseArgs<T>>; // It has the command's own options besides the shared ones.
}

function parseKnown(config: ParseArgsConfig, known: readonly string[]): ReturnType<typeof parseArgs> {
  try {
    return parseArgs(config);
  } catch (cause) {
    const [problem = ''] = (cause instanceof Error ? cause.message : String(cause)).split(/\.\s/, 1); // Without Node's advice.
    const message = `${problem.replace(/\.$/, '')}${meantOption(problem, known)} Try --help.`;
    throw new HandlerError('INVALID_REQUEST', message, { cause });
  }
}

/** The end of a sentence about an argument, which says which option is meant. */
function meantOption(problem: string, known: readonly string[]): string {
  const [, unknown] = /^Unknown option '--([^'=]+)/.exec(problem) ?? [];
  if (unknown === undefined) return '.';
  const usual = Object.hasOwn(usualOptions, unknown) ? usualOptions[unknown] : undefined;
  if (usual !== undefined && known.includes(usual)) return `: did you mean --${usual}?`;
  return suggestion(unknown, known).replace('mean ', 'mean --');
}

/**
 * The value of an option that takes few values.
 * @returns `undefined` where the option is not given.
 * @throws HandlerError `INVALID_REQUEST` for another value.
 */
export function readChoice<const Choice extends string>(
  option: string,
  value: string | undefined,
  choices: readonly Choice[],
): Choice | undefined {
  const choice = choices.find((each) => each === value);
  if (value === undefined || choice !== undefined) return choice;
  const expected = `Expected ${option} to be ${choices.join(' or ')}`;
  throw new HandlerError('INVALID_REQUEST', `${expected}, got ${JSON.stringify(value)}. Try --help.`);
}

/**
 * Refuses options that are given and change nothing.
 * @param names of those options.
 * @param where they change nothing, such as `beside --folder`.
 * @throws HandlerError `INVALID_REQUEST`.
 */
export function refuseWithoutEffect<Name extends string>(
  values: Readonly<Partial<Record<Name, unknown>>>,
  names: readonly Name[],
  where: string,
): void {
  const idle = names.find((name) => values[name] !== undefined);
  if (idle === undefined) return;
  throw new HandlerError('INVALID_REQUEST', `--${idle} has no effect ${where}: leave it out. Try --help.`);
}

function loadVariables(file: string | boolean): void {
  try {
    process.loadEnvFile(String(file));
  } catch (cause) {
    const message = `Expected --env-file to name a file that can be read, got ${JSON.stringify(file)}.`;
    throw new HandlerError('INVALID_REQUEST', message, { cause });
  }
}

/**
 * Ends the process quietly when nobody reads its output any more, as in `blip-handler list-models | head -1`. Node ends it
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

/**
 * Runs a command to its end, or prints its help to stdout. An error goes to stderr as `<code>: <message>`, and the exit
 * code is 1.
 */
export async function runCommand(help: string, command: () => void | Promise<void>): Promise<void> {
  endWithReader();
  try {
    if (isHelpAsked()) process.stdout.write(help);
    else await command();
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
