import { readProxies } from '../../checkpoint/hub/hub-settings.ts';
import { findCudaMachine, missingPart } from '../../pipeline/cuda/diagnosis.ts';
import { defaultNugetFeed } from '../../pipeline/cuda/nuget-feed.ts';
import { type CudaVersion, cudaVersions, installProvider } from '../../pipeline/cuda/provider-install.ts';
import { defaultPythonIndex } from '../../pipeline/cuda/python-index.ts';
import { findRuntimeFolder } from '../../pipeline/cuda/runtime-folder.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { abortOnSignals, readArguments, readChoice, runCommand, sharedHelp } from './command.ts';
import { showProgress } from './download-progress.ts';

/** `npm run gpu`: fetches CUDA's provider for the installed onnxruntime. Prints its folder, and what is still missing. */

const usage = `Usage: blip-handler gpu [options]      in a checkout: npm run -s gpu -- …

  --cuda VERSION   12 or 13: the CUDA of the machine that will run (else the one that is found here, else 13)
  --index URL      another index: of PyPI for CUDA 13 (else PIP_INDEX_URL, else ${defaultPythonIndex}),
                   of NuGet for CUDA 12 (else ${defaultNugetFeed})
  --folder DIR     the folder of libonnxruntime.so.1 that gets the files (else that of the installed onnxruntime-node)
${sharedHelp}
CUDA 13 is taken from PyPI's onnxruntime-gpu, CUDA 12 from NuGet, in the version of the installed onnxruntime-node. Commit
and checksum are checked. About 250 MB are fetched and 270 MB kept. Then it says which libraries are still missing.
HTTPS_PROXY, HTTP_PROXY and NO_PROXY are honoured.
`;

interface Options {
  readonly cuda: CudaVersion;
  readonly index: URL;
  readonly folder: string | undefined;
}

/** @throws HandlerError `INVALID_REQUEST`. */
function readOptions(): Options {
  const { values } = readArguments({
    options: {
      cuda: { type: 'string' },
      index: { type: 'string' },
      folder: { type: 'string' },
    },
  });
  const cuda = readChoice('--cuda', values.cuda, cudaVersions) ?? findCuda();
  const pythonIndex = process.env['PIP_INDEX_URL']?.trim() || defaultPythonIndex;
  return {
    cuda,
    index: readIndex(values.index ?? (cuda === '13' ? pythonIndex : defaultNugetFeed)),
    folder: values.folder,
  };
}

/** The CUDA whose libraries the dynamic loader finds; 13 where it finds none. */
function findCuda(): CudaVersion {
  const { load } = findCudaMachine();
  const has = (version: CudaVersion) => load(`libcublasLt.so.${version}`) === undefined;
  return !has('13') && has('12') ? '12' : '13';
}

/** The value is not repeated, because it may have a password. */
function readIndex(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && ['http:', 'https:'].includes(url.protocol)) return url;
  throw new HandlerError('INVALID_REQUEST', 'Expected the index to be an http or https URL, got something else.');
}

async function install({ cuda, index, folder }: Options): Promise<void> {
  const runtime = findRuntimeFolder();
  const target = folder ?? runtime.folder;
  if (folder === undefined && !findCudaMachine().isSupported)
    throw new HandlerError(
      'PROVIDER_INSTALL_FAILED',
      'Expected Linux x64, where onnxruntime-node has CUDA, got another system. Use --folder for one that runs elsewhere.',
    );
  const display = showProgress(process.stderr);
  const onBytes = (receivedBytes: number, totalBytes: number) =>
    display.progress({ file: `onnxruntime ${runtime.version} for CUDA ${cuda}`, receivedBytes, totalBytes });
  try {
    const installed = await installProvider({
      cuda,
      index,
      version: runtime.version,
      folder: target,
      proxies: readProxies(process.env),
      signal: abortOnSignals(),
      onBytes,
    });
    display.stop();
    const checked = installed.isChecked ? 'Commit and checksum fit' : 'The commit fits; the index gave no checksum';
    process.stderr.write(`${checked}: ${installed.source}, ${installed.commit}.\n`);
    process.stdout.write(`${target}\n`);
  } finally {
    display.stop();
  }
  if (folder === undefined) process.stderr.write(needed(cuda));
}

/** Packages with the libraries that a machine still lacks. They are NVIDIA's, and this package may not bring them. */
function needed(cuda: CudaVersion): string {
  const missing = missingPart(findCudaMachine());
  if (missing === undefined)
    return 'All libraries are found. BLIP_EXECUTION_PROVIDER=cuda says whether the card works.\n';
  const packages = {
    12: 'nvidia-cublas-cu12 nvidia-cuda-runtime-cu12 nvidia-curand-cu12 nvidia-cufft-cu12 nvidia-cudnn-cu12',
    13: 'nvidia-cublas nvidia-cuda-runtime nvidia-curand nvidia-cudnn-cu13',
  };
  return `Not ready yet: ${missing}.
The image nvidia/cuda with -cudnn-runtime has CUDA ${cuda} and cuDNN 9. So have these packages of PyPI: ${packages[cuda]}.
`;
}

await runCommand(usage, async () => await install(readOptions()));
