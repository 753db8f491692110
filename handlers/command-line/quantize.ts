import type { Calibration } from '../../checkpoint/quantize/calibration.ts';
import type { LanguageModelBits } from '../../checkpoint/quantize/checkpoint-tensors.ts';
import { copyIn16Bits } from '../../checkpoint/quantize/copy-in-16-bits.ts';
import { quantizeCheckpoint } from '../../checkpoint/quantize/quantize-checkpoint.ts';
import { type CopyPrecision, copyPrecisions } from '../../checkpoint/quantize/tensor-in-16-bits.ts';
import { layoutOf } from '../../checkpoint/weights/layout.ts';
import { explainNativeFailure } from '../../pipeline/native-packages.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { abortOnSignals, readArguments, readChoice, runCommand, sharedHelp } from './command.ts';
import { showProgress } from './download-progress.ts';
import { locate, megabytes, requireFree, requireWritable } from './new-checkpoint.ts';

/** `npm run quantize`: makes a smaller checkpoint of a float one. Prints its folder to stdout and progress to stderr. */

const usage = `Usage: blip-handler quantize CHECKPOINT FOLDER [options]      in a checkout: npm run -s quantize -- …

  CHECKPOINT             a folder, OWNER/NAME[@REVISION] on the Hub, or a name of open_clip: ViT-B-32:openai
  FOLDER                 where the new checkpoint goes; must not exist yet
  --bits 8|4             bits of each weight in the language model of a BLIP-2 or InstructBLIP; all else is int8
                         (default: 8)
  --calibrate PICTURES   a folder of pictures like those that will be served: images are then read faster, in the steps
                         that fit these pictures best (at most 64 of them are used)
  --precision float16|bfloat16
                         a copy in 16 bits in place of int8, for GPUs: half the size of float32
${sharedHelp}
Serve the folder like any other checkpoint; int8 runs on CPUs. What int8 costs in quality is measured for the
checkpoints that ship (docs/decisions/0020-int8.md); measure it for yours before you rely on it.
`;

interface Options {
  readonly checkpoint: string;
  readonly folder: string;
  readonly bits: LanguageModelBits | undefined;
  /** A folder of pictures. */
  readonly calibrate: string | undefined;
  readonly precision: CopyPrecision | undefined;
}

/** @throws HandlerError `INVALID_REQUEST`. */
function readOptions(): Options {
  const { values, positionals } = readArguments({
    allowPositionals: true,
    options: {
      bits: { type: 'string' },
      calibrate: { type: 'string' },
      precision: { type: 'string' },
    },
  });
  const [checkpoint, folder, ...others] = positionals;
  if (checkpoint === undefined || folder === undefined || others.length > 0)
    throw invalid('a checkpoint and a folder', `${positionals.length} arguments`);
  const bits = readChoice('--bits', values.bits, ['8', '4']);
  const precision = readChoice('--precision', values.precision, copyPrecisions);
  const [other] = ['bits', 'calibrate'].filter((name) => name in values);
  if (precision !== undefined && other !== undefined)
    throw invalid(`--precision alone: a copy in ${precision} is not int8`, `--${other} too`);
  return {
    checkpoint,
    folder,
    bits: bits === undefined ? undefined : bits === '4' ? 4 : 8,
    calibrate: values.calibrate,
    precision,
  };
}

function invalid(expected: string, got: string): HandlerError {
  return new HandlerError('INVALID_REQUEST', `Expected ${expected}, got ${got}. Try --help.`);
}

/** The runtime is loaded only where it is needed. */
async function calibrated(source: string, pictures: string, signal: AbortSignal): Promise<Calibration> {
  const { calibrate } = await import('../../pipeline/calibration/calibrate.ts').catch((thrown) => {
    throw explainNativeFailure(thrown);
  });
  let shown = 0;
  const onProgress = (passes: number, allPasses: number) => {
    const tenths = Math.floor((passes * 10) / allPasses);
    if (tenths > shown) process.stderr.write(`${pictures}: ${tenths * 10} % calibrated\n`);
    shown = tenths;
  };
  return await calibrate(source, pictures, { onProgress, signal });
}

async function quantize(options: Options): Promise<void> {
  const { checkpoint, folder, calibrate } = options;
  await requireWritable(folder, async () => requireFree(folder));
  const signal = abortOnSignals();
  const source = await locate(checkpoint, signal);
  const calibration = calibrate === undefined ? undefined : await calibrated(source, calibrate, signal);
  const display = showProgress(process.stderr);
  try {
    const onProgress = (receivedBytes: number, totalBytes: number) =>
      display.progress({ file: layoutOf(source).newWeightsFile, receivedBytes, totalBytes });
    const result = await requireWritable(folder, () => write(source, options, calibration, { onProgress, signal }));
    display.stop();
    process.stderr.write(`${result}.\n`);
    process.stdout.write(`${folder}\n`);
  } finally {
    display.stop();
  }
}

type Writing = Pick<Parameters<typeof copyIn16Bits>[2], 'onProgress' | 'signal'>;

/** @returns the result in words. */
async function write(
  source: string,
  { folder, bits, precision }: Options,
  calibration: Calibration | undefined,
  writing: Writing,
): Promise<string> {
  if (precision !== undefined)
    return `A copy in ${precision}: ${sizes(await copyIn16Bits(source, folder, { ...writing, precision }))}`;
  const quantizing = { ...writing, languageModelBits: bits, ...(calibration === undefined ? {} : { calibration }) };
  const made = await quantizeCheckpoint(source, folder, quantizing);
  const { matrixCount, halfByteMatrixCount } = made;
  const matrices = `${matrixCount - halfByteMatrixCount} matrices are int8`;
  const others = halfByteMatrixCount === 0 ? '' : ` and ${halfByteMatrixCount} have 4 bits`;
  return `${matrices}${others}: ${sizes(made)}`;
}

function sizes({ weightsBytes, sourceBytes }: { readonly weightsBytes: number; readonly sourceBytes: number }): string {
  return `${megabytes(weightsBytes)} of weights, from ${megabytes(sourceBytes)}`;
}

await runCommand(usage, async () => await quantize(readOptions()));
