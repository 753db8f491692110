import { spawnSync } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isFolder } from '../../checkpoint/hub/reference.ts';
import { type BuilderName, builderNames } from '../../handlers/command-line/build/builder.ts';
import { type ImageArchitecture, readArchitecture } from '../../handlers/command-line/build/target.ts';
import { abortOnSignals, readArguments, runCommand, sharedHelp } from '../../handlers/command-line/command.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { writeArchive } from './archive.ts';
import { buildFunctionImage } from './function-image.ts';

/** `npm run lambda`: makes the zip archive or the image of the function for AWS Lambda, from dist/. Prints its name. */

const usage = `Usage: npm run -s lambda -- [options]

  --out FILE           the archive (else lambda.zip)
  --image NAME:TAG     builds an image in place of an archive
  --checkpoint PLACE   a checkpoint in the archive or the image: a folder, or OWNER/NAME[@REVISION] of the Hub
                       (else the small one that ships, or what BLIP_CHECKPOINT of the function names)
  --architecture A     x64 or arm64 (else that of this machine)
  --base IMAGE         the image below (else public.ecr.aws/lambda/nodejs:22)
  --builder PROGRAM    docker (with buildx), podman or buildah (else the first of them that is installed)
  --push               pushes the image to the registry of its name
${sharedHelp}`;

const program = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** The folder of the checkpoint in the function, below models/. */
const MODEL = 'model';
/** Lambda runs functions as a user who owns none of their files. */
const READABLE_UMASK = 0o022;

interface Options {
  readonly architecture: ImageArchitecture;
  readonly checkpoint: string | undefined;
  /** The archive to write, or the image to build. */
  readonly result:
    | { readonly file: string }
    | {
        readonly tag: string;
        readonly base: string | undefined;
        readonly builder: BuilderName | undefined;
        readonly push: boolean;
      };
}

/** @throws HandlerError `INVALID_REQUEST`. */
function readOptions(): Options {
  const { values } = readArguments({
    options: {
      out: { type: 'string' },
      image: { type: 'string' },
      checkpoint: { type: 'string' },
      architecture: { type: 'string' },
      base: { type: 'string' },
      builder: { type: 'string' },
      push: { type: 'boolean' },
    },
  });
  const { image: tag, out, base, builder, push, checkpoint } = values;
  refuseIdle(tag === undefined ? { base, builder, push } : { out }, tag === undefined ? 'without' : 'beside');
  const result =
    tag === undefined
      ? { file: resolve(out ?? 'lambda.zip') }
      : { tag, base, builder: readBuilder(builder), push: push ?? false };
  return { architecture: readArchitecture(values.architecture ?? process.arch), checkpoint, result };
}

function refuseIdle(flags: Readonly<Record<string, unknown>>, relation: 'without' | 'beside'): void {
  const [idle] = Object.entries(flags).find(([, value]) => value !== undefined) ?? [];
  if (idle !== undefined)
    throw new HandlerError(
      'INVALID_REQUEST',
      `--${idle} has no effect ${relation} --image: leave one out. Try --help.`,
    );
}

function readBuilder(name: string | undefined): BuilderName | undefined {
  const builder = builderNames.find((each) => each === name);
  if (name === undefined || builder !== undefined) return builder;
  throw new HandlerError('INVALID_REQUEST', `Expected --builder to be one of ${builderNames.join(', ')}, got ${name}.`);
}

/** Lays the function out in a temporary folder, and makes what is asked for of it. @returns its name. */
async function make({ architecture, checkpoint, result }: Options, scratch: string): Promise<string> {
  const folder = join(scratch, 'function');
  layOut(folder, architecture, checkpoint, scratch);
  if ('file' in result) {
    await makeArchive(folder, result.file);
    if (checkpoint !== undefined) process.stderr.write(`Set BLIP_CHECKPOINT=models/${MODEL} for the function.\n`);
    return result.file;
  }
  const models = checkpoint === undefined ? undefined : { folder: join(scratch, 'models'), name: MODEL };
  if (models !== undefined) renameSync(join(folder, 'models'), models.folder);
  await buildFunctionImage({ ...result, architecture, context: folder, models }, scratch, abortOnSignals());
  return result.tag;
}

/**
 * Has the bundle write its service folder. The command runs in an empty folder, so that it reads no build.yaml, which is
 * for other images.
 */
function layOut(
  folder: string,
  architecture: ImageArchitecture,
  checkpoint: string | undefined,
  scratch: string,
): void {
  const place = checkpoint !== undefined && isFolder(checkpoint) ? resolve(checkpoint) : checkpoint;
  const baked = place === undefined ? [] : ['--checkpoint', `${MODEL}=${place}`];
  const { status } = spawnSync(
    process.execPath,
    [program, 'build', '--folder', folder, '--architecture', architecture, ...baked],
    { cwd: scratch, stdio: ['ignore', 'ignore', 'inherit'] },
  );
  if (status !== 0)
    throw new HandlerError('BUILD_FAILED', 'Expected the bundle to write its folder: see the lines above.');
}

async function makeArchive(folder: string, file: string): Promise<void> {
  const { archiveBytes, unpackedBytes } = await writeArchive(folder, file);
  const inMegabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  process.stderr.write(`${inMegabytes(archiveBytes)}, unpacked ${inMegabytes(unpackedBytes)}\n`);
}

await runCommand(usage, async () => {
  const options = readOptions();
  process.umask(READABLE_UMASK);
  const scratch = mkdtempSync(join(tmpdir(), 'blip-handler-lambda-'));
  try {
    process.stdout.write(`${await make(options, scratch)}\n`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
