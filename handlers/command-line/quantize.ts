import type { Calibration } from '../../checkpoint/quantize/calibration.ts';
import { quantizeCheckpoint } from '../../checkpoint/quantize/quantize-checkpoint.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { abortOnSignals, readArguments, runCommand } from './command.ts';
import { showProgress } from './download-progress.ts';
import { locate, megabytes, requireFree, requireWritable } from './new-checkpoint.ts';

/** `npm run quantize`: makes an int8 checkpoint of a float one. Prints its folder to stdout and the progress to stderr. */

const usage = `Usage: blip-handler quantize CHECKPOINT FOLDER [options]      in a checkout: npm run -s quantize -- …

  CHECKPOINT             a folder in Hugging Face layout, or OWNER/NAME[@REVISION] on the Hub
  FOLDER                 where the int8 checkpoint goes; must not exist yet
  --calibrate PICTURES   a folder of pictures like those that will be served: images are then read faster, in the steps
                         that fit these pictures best (at most 64 of them are used)
  --help                 this text

Serve the folder like any other checkpoint, on a CPU. What int8 costs in quality is measured for the checkpoints
that ship (docs/decisions/0020-int8.md); measure it for yours before you rely on it.
`;

interface Options {
  readonly checkpoint: string;
  readonly folder: string;
  /** A folder of pictures. */
  readonly calibrate: string | undefined;
}

/**
 * @returns `undefined` when only the help is wanted.
 * @throws HandlerError `INVALID_REQUEST`.
 */
function readOptions(): Options | undefined {
  const { values, positionals } = readArguments({
    allowPositionals: true,
    options: { calibrate: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help === true) return undefined;
  const [checkpoint, folder, ...others] = positionals;
  if (checkpoint === undefined || folder === undefined || others.length > 0) {
    throw new HandlerError(
      'INVALID_REQUEST',
      `Expected a checkpoint and a folder, got ${positionals.length} arguments. Try --help.`,
    );
  }
  return { checkpoint, folder, calibrate: values.calibrate };
}

/** The runtime is loaded only where it is needed. */
async function calibrated(source: string, pictures: string, signal: AbortSignal): Promise<Calibration> {
  const { calibrate } = await import('../../pipeline/calibration/calibrate.ts');
  let shown = 0;
  const onProgress = (passes: number, allPasses: number) => {
    const tenths = Math.floor((passes * 10) / allPasses);
    if (tenths > shown) process.stderr.write(`${pictures}: ${tenths * 10} % calibrated\n`);
    shown = tenths;
  };
  return await calibrate(source, pictures, { onProgress, signal });
}

async function quantize({ checkpoint, folder, calibrate }: Options): Promise<void> {
  await requireWritable(folder, async () => requireFree(folder));
  const signal = abortOnSignals();
  const source = await locate(checkpoint, signal);
  const calibration = calibrate === undefined ? {} : { calibration: await calibrated(source, calibrate, signal) };
  const display = showProgress(process.stderr);
  try {
    const onProgress = (receivedBytes: number, totalBytes: number) =>
      display.progress({ file: 'model.safetensors', receivedBytes, totalBytes });
    const { matrixCount, weightsBytes, sourceBytes } = await requireWritable(folder, () =>
      quantizeCheckpoint(source, folder, { onProgress, signal, ...calibration }),
    );
    display.stop();
    const sizes = `${megabytes(weightsBytes)} of weights, from ${megabytes(sourceBytes)}`;
    process.stderr.write(`${matrixCount} matrices are int8: ${sizes}.\n`);
    process.stdout.write(`${folder}\n`);
  } finally {
    display.stop();
  }
}

await runCommand(async () => {
  const options = readOptions();
  if (options === undefined) process.stderr.write(usage);
  else await quantize(options);
});
