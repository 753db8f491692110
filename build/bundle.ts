import { spawn, spawnSync } from 'node:child_process';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build, type Metafile, type Plugin } from 'esbuild';
import { bundledPackages, packageWork, shippedWorks, thirdPartyText } from './third-party.ts';

/**
 * `npm run build`: bundles the handler, the HTTP server, the command line, the function of AWS Lambda, the worker
 * thread and the process that decodes images into dist/. Only packages with native code and OpenTelemetry's API stay
 * outside. It also writes the licences of all that it bundles, and type declarations, and prints sizes and the time from
 * process start to ready. With `--quiet` it writes no declarations and prints nothing; with `--package`, as npm asks
 * before it packs, it prints nothing.
 */

const root = fileURLToPath(new URL('..', import.meta.url));
const outputFolder = `${root}dist`;
const swaggerFolder = `${root}node_modules/swagger-ui-dist`;

/** Packages with native code. They must be in a node_modules beside dist/. */
const nativePackages = ['onnxruntime-node', 'sharp'];

/** A process must have exactly one copy of it, which the operator installs; without it there are no spans. */
const OPENTELEMETRY_API = '@opentelemetry/api';

/** prom-client imports OpenTelemetry for exemplars, which are off. This replaces the import with nothing. */
const noExemplars: Plugin = {
  name: 'no-exemplars',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^@opentelemetry\/api$/ }, ({ path, importer }) =>
      importer.includes('/prom-client/') ? { path, namespace: 'empty' } : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'empty' }, () => ({ contents: '' }));
  },
};

const entryPoints = {
  app: `${root}app.ts`,
  serve: `${root}handlers/command-line/serve.ts`,
  invoke: `${root}handlers/command-line/invoke.ts`,
  main: `${root}handlers/command-line/main.ts`,
  'aws-lambda': `${root}handlers/aws-lambda/aws-lambda.ts`,
  'inference-worker': `${root}pipeline/workers/inference-worker.ts`,
  'image-decoder': `${root}pipeline/images/decoders/image-decoder.ts`,
};

async function bundle(): Promise<Metafile> {
  rmSync(outputFolder, { recursive: true, force: true });
  const { metafile } = await build({
    entryPoints,
    outdir: outputFolder,
    bundle: true,
    splitting: true,
    minify: true,
    sourcemap: true,
    metafile: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: [...nativePackages, OPENTELEMETRY_API],
    plugins: [noExemplars],
    logLevel: 'warning',
    // Bundled CommonJS packages call require for Node's own modules.
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
  });
  for (const shipped of [
    'checkpoints/scenes-captioning',
    'examples',
    'handlers/http/doors/page-and-docs/page',
    'pipeline/texts/clip-vocabulary',
  ]) {
    cpSync(`${root}${shipped}`, `${outputFolder}/${shipped}`, { recursive: true });
  }
  for (const file of [
    'swagger-ui.css',
    'swagger-ui-bundle.js',
    'swagger-ui-bundle.js.LICENSE.txt',
    'LICENSE',
    'NOTICE',
  ]) {
    cpSync(`${swaggerFolder}/${file}`, `${outputFolder}/swagger-ui/${file}`);
  }
  cpSync(`${root}Dockerfile`, `${outputFolder}/Dockerfile`);
  cpSync(`${root}handlers/grpc/proto/jina/LICENSE`, `${outputFolder}/jina/LICENSE`);
  writeThirdParty(metafile);
  return metafile;
}

/** Writes the licences of all that dist/ has of others. A package without a licence text ends the build. */
function writeThirdParty(metafile: Metafile): void {
  const licences = `${root}build/licences`;
  const packages = [...bundledPackages(metafile, licences), packageWork(swaggerFolder, licences)];
  writeFileSync(`${outputFolder}/THIRD-PARTY.txt`, thirdPartyText([...packages, ...shippedWorks(root)]));
}

/** Writes the declarations of the handler for those who import the package. */
function writeDeclarations(): void {
  const compiler = `${root}node_modules/typescript/bin/tsc`;
  const { status } = spawnSync(process.execPath, [compiler, '-p', `${root}build/tsconfig.declarations.json`], {
    stdio: 'inherit',
  });
  if (status !== 0) throw new Error(`Expected the declarations to compile, but tsc ended with exit code ${status}.`);
}

function printSizes({ outputs }: Metafile): void {
  const files = Object.entries(outputs).filter(([path]) => path.endsWith('.js'));
  for (const [path, { bytes }] of files) process.stderr.write(`${(bytes / 1000).toFixed(1).padStart(8)} kB  ${path}\n`);
  const total = files.reduce((sum, [, { bytes }]) => sum + bytes, 0);
  process.stderr.write(
    `${(total / 1000).toFixed(1).padStart(8)} kB  in total, beside ${nativePackages.join(' and ')}\n`,
  );
}

/** Milliseconds from starting the process to the server's `ready` line, with the checkpoint that ships. */
function measureStart(): Promise<number> {
  // The settings of the caller must not change the measurement.
  const others = Object.entries(process.env).filter(([name]) => !/^(?:BLIP_|AIP_|HOST$|LOG_FORMAT$)/.test(name));
  const startMs = performance.now();
  const server = spawn(process.execPath, [`${outputFolder}/serve.js`], {
    env: { ...Object.fromEntries(others), PORT: '0', LOG_LEVEL: 'info' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return new Promise((resolve, reject) => {
    let output = '';
    server.stdout.on('data', (chunk) => {
      output += chunk;
      if (!output.includes('"msg":"ready"')) return;
      resolve(performance.now() - startMs);
      server.kill('SIGTERM');
    });
    server.once('exit', (exitCode) =>
      reject(new Error(`Expected the server to be ready, but it ended with exit code ${exitCode}.`)),
    );
  });
}

const metafile = await bundle();
if (!process.argv.includes('--quiet')) writeDeclarations();
if (!process.argv.includes('--quiet') && !process.argv.includes('--package')) {
  printSizes(metafile);
  process.stderr.write(`${(await measureStart()).toFixed(0).padStart(8)} ms  from process start to ready\n`);
}
