import { downloadCheckpoint } from '../../checkpoint/hub/download.ts';
import { parseHubReference } from '../../checkpoint/hub/reference.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { abortOnSignals, readArguments, runCommand, sharedHelp } from './command.ts';
import { showProgress } from './download-progress.ts';

/** `npm run download`: fetches a checkpoint from the Hub. Prints its folder to stdout and the progress to stderr. */

const usage = `Usage: blip-handler download MODEL[@REVISION] [options]      in a checkout: npm run -s download -- …

  MODEL            OWNER/NAME on the Hub, such as Salesforce/blip-image-captioning-base
  --revision R     branch, tag, commit or ref such as refs/pr/18 (else main); the same as @REVISION
  --folder DIR     plain files into this folder, in place of the cache that Python shares
${sharedHelp}
Prints the folder. Only the files needed are fetched, and only those not there yet; what a cut left is gone on with.
HF_TOKEN opens private and gated models; HF_ENDPOINT names a mirror; HF_HOME or HF_HUB_CACHE another cache;
HF_HUB_OFFLINE=1 keeps off the network; HTTPS_PROXY, HTTP_PROXY and NO_PROXY are honoured.
`;

interface Options {
  readonly model: string;
  readonly revision: string | undefined;
  readonly folder: string | undefined;
}

/** @throws HandlerError `INVALID_REQUEST`. */
function readOptions(): Options {
  const { values, positionals } = readArguments({
    allowPositionals: true,
    options: { revision: { type: 'string' }, folder: { type: 'string' } },
  });
  const [model, ...others] = positionals;
  if (model === undefined || others.length > 0) {
    throw new HandlerError('INVALID_REQUEST', `Expected one model, got ${positionals.length}. Try --help.`);
  }
  return { model, revision: values.revision, folder: values.folder };
}

async function download({ model, revision, folder }: Options): Promise<void> {
  const display = showProgress(process.stderr);
  try {
    const downloaded = await downloadCheckpoint(parseHubReference(model, revision), process.env, {
      folder,
      onProgress: display.progress,
      onNotice: display.notice,
      signal: abortOnSignals(),
    });
    display.stop();
    process.stdout.write(`${downloaded}\n`);
  } finally {
    display.stop();
  }
}

await runCommand(usage, async () => await download(readOptions()));
