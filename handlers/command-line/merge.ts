import { readAdapterConfig } from '../../checkpoint/config/adapter-config.ts';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { mergeCheckpoint } from '../../checkpoint/merge/merge-checkpoint.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { abortOnSignals, readArguments, runCommand, sharedHelp } from './command.ts';
import { showProgress } from './download-progress.ts';
import { locate, megabytes, requireFree, requireWritable } from './new-checkpoint.ts';

/** `npm run merge`: makes a checkpoint of a LoRA adapter and its base. Prints its folder to stdout, progress to stderr. */

const usage = `Usage: blip-handler merge ADAPTER [BASE] FOLDER      in a checkout: npm run -s merge -- …

  ADAPTER          a folder that PEFT saved: adapter_config.json and adapter_model.safetensors or .bin
  BASE             a folder in Hugging Face layout, or OWNER/NAME[@REVISION] on the Hub; else the base that the
                   adapter names
  FOLDER           where the merged checkpoint goes; must not exist yet
${sharedHelp}
Each matrix becomes W + alpha / r * B * A, in the base's dtype. Serve the folder like any other checkpoint.
`;

interface Options {
  readonly adapter: string;
  readonly base: string | undefined;
  readonly folder: string;
}

/** @throws HandlerError `INVALID_REQUEST`. */
function readOptions(): Options {
  const { positionals } = readArguments({ allowPositionals: true });
  const [adapter, second, third, ...others] = positionals;
  if (adapter === undefined || second === undefined || others.length > 0) {
    const message = `Expected an adapter, its base and a folder, got ${positionals.length} arguments. Try --help.`;
    throw new HandlerError('INVALID_REQUEST', message);
  }
  return third === undefined ? { adapter, base: undefined, folder: second } : { adapter, base: second, folder: third };
}

/** The base that is given, or else the one that the adapter names. */
function baseOf({ adapter, base }: Options): string {
  const named = readAdapterConfig(adapter).baseModel;
  const chosen = base ?? named;
  if (chosen !== undefined) return chosen;
  throw new HandlerError('INVALID_REQUEST', `${adapter}: expected a BASE, because the adapter names none.`);
}

/** An adapter names its base as the machine had it where it was trained. */
async function locateBase({ adapter, base: given }: Options, base: string, signal: AbortSignal): Promise<string> {
  try {
    return await locate(base, signal);
  } catch (error) {
    if (given !== undefined || !(error instanceof CheckpointError) || error.code !== 'CHECKPOINT_NOT_FOUND')
      throw error;
    const message = `${error.message} ${adapter} names this base: give its BASE where it lies elsewhere.`;
    throw new CheckpointError(error.code, message, { cause: error });
  }
}

async function merge(options: Options): Promise<void> {
  const { adapter, folder } = options;
  await requireWritable(folder, async () => requireFree(folder));
  const base = baseOf(options);
  const signal = abortOnSignals();
  const source = await locateBase(options, base, signal);
  const display = showProgress(process.stderr);
  try {
    const onProgress = (receivedBytes: number, totalBytes: number) =>
      display.progress({ file: 'model.safetensors', receivedBytes, totalBytes });
    const { moduleCount, replacedCount, weightsBytes } = await requireWritable(folder, () =>
      mergeCheckpoint(adapter, source, folder, { onProgress, signal }),
    );
    display.stop();
    const changed = `${moduleCount} modules of ${base} are merged, and ${replacedCount} tensors replaced`;
    process.stderr.write(`${changed}: ${megabytes(weightsBytes)} of weights.\n`);
    process.stdout.write(`${folder}\n`);
  } finally {
    display.stop();
  }
}

await runCommand(usage, async () => await merge(readOptions()));
