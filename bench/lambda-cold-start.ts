import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { startRuntimeApi } from '../test/clients/runtime-api.ts';

/**
 * The cold start of the function of AWS Lambda under Lambda's runtime client, from the start of its process to the first
 * answer. The variants take turns. `from disk` drops the checkpoint's pages from memory first, as on a fresh machine.
 *
 *     npx tsx bench/lambda-cold-start.ts --function DIR --client DIR/node_modules/aws-lambda-ric/index.mjs
 *         [--node PROGRAM] [--checkpoint DIR]... [--image NAME]... [--rounds N]
 *
 * `--function` is an unpacked archive of `npm run lambda`. `--image` is run by podman with the host's network.
 */

const { values } = parseArgs({
  options: {
    function: { type: 'string' },
    client: { type: 'string' },
    node: { type: 'string', default: process.execPath },
    checkpoint: { type: 'string', multiple: true, default: [] },
    image: { type: 'string', multiple: true, default: [] },
    rounds: { type: 'string', default: '5' },
  },
});

function requirePath(name: 'function' | 'client'): string {
  const path = values[name];
  if (path !== undefined) return resolve(path);
  throw new Error(`Expected --${name}, got none: the head of bench/lambda-cold-start.ts has the options.`);
}

const functionFolder = requirePath('function');
const client = requirePath('client');

interface Variant {
  readonly name: string;
  readonly checkpoint: string;
  readonly isFromDisk: boolean;
  readonly image?: string;
}

interface Start {
  readonly initMs: number;
  readonly answerMs: number;
  readonly warmMs: number;
  readonly memoryMegabytes: number;
}

const picture = readFileSync(new URL('../examples/two-cats.png', import.meta.url)).toString('base64');
const event = { img_url: `data:image/png;base64,${picture}` };

function variants(): readonly Variant[] {
  const checkpoints = values.checkpoint.map((folder) => resolve(folder));
  return [
    { name: 'the one that ships', checkpoint: '', isFromDisk: false },
    ...checkpoints.flatMap((checkpoint) =>
      [false, true].map((isFromDisk) => ({
        name: `${checkpoint}${isFromDisk ? ', from disk' : ''}`,
        checkpoint,
        isFromDisk,
      })),
    ),
    ...values.image.map((image) => ({ name: `image ${image}`, checkpoint: '', isFromDisk: false, image })),
  ];
}

/** Drops the pages of a folder's files from the system's cache. */
function forget(folder: string): void {
  for (const name of readdirSync(folder))
    spawnSync('dd', [`if=${join(folder, name)}`, 'iflag=nocache', 'count=0', 'status=none']);
}

function launch({ image, checkpoint }: Variant, address: string): ChildProcess {
  const variables = {
    AWS_LAMBDA_RUNTIME_API: address,
    _HANDLER: 'dist/aws-lambda.handler',
    AWS_LAMBDA_FUNCTION_NAME: 'captions',
    AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '3008',
    AWS_LAMBDA_LOG_GROUP_NAME: 'captions',
    AWS_LAMBDA_LOG_STREAM_NAME: 'captions',
    BLIP_AUTHORIZER: 'platform',
    LOG_LEVEL: 'silent',
    ...(image === undefined ? { BLIP_CHECKPOINT: checkpoint } : {}),
  };
  const stdio = ['ignore', 'ignore', 'inherit'] as const;
  if (image !== undefined) {
    const flags = Object.entries(variables).map(([name, value]) => `--env=${name}=${value}`);
    return spawn('podman', ['run', '--rm', '--network=host', '--read-only', ...flags, image], { stdio: [...stdio] });
  }
  const environment = { ...process.env, ...variables, LAMBDA_TASK_ROOT: functionFolder };
  return spawn(values.node, [client], { cwd: functionFolder, env: environment, stdio: [...stdio] });
}

async function start(variant: Variant): Promise<Start> {
  if (variant.isFromDisk) forget(variant.checkpoint);
  const api = await startRuntimeApi();
  const startMs = performance.now();
  const since = () => performance.now() - startMs;
  const child = launch(variant, api.address);
  try {
    const initialized = api.initialized.then(since);
    const died = once(child, 'exit').then(([exitCode]) => {
      throw new Error(`Expected an answer, but the client ended with exit code ${exitCode}.`);
    });
    died.catch(() => undefined); // It ends in any case.
    requireAnswer(await Promise.race([api.invoke(event), died]));
    const answerMs = since();
    requireAnswer(await Promise.race([api.invoke(event), died]));
    const warmMs = since() - answerMs;
    const memoryMegabytes = variant.image === undefined ? memoryOf(child.pid) : Number.NaN;
    return { initMs: await initialized, answerMs, warmMs, memoryMegabytes };
  } finally {
    if (child.exitCode === null) {
      const exit = once(child, 'exit');
      // podman passes SIGTERM on, and removes the container when it ends; killed, it would leave it.
      child.kill('SIGTERM');
      await exit;
    }
    api.close();
  }
}

function requireAnswer(answer: unknown): void {
  const text = JSON.stringify(answer);
  if (!text.includes('generated_output')) throw new Error(`Expected a caption, got ${text.slice(0, 500)}`);
}

/** Private memory, without the mapped pages of files. */
function memoryOf(pid: number | undefined): number {
  const [, kilobytes = ''] = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) / 1024;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

const starts = new Map<Variant, Start[]>(variants().map((variant) => [variant, []]));
for (let round = 0; round < Number(values.rounds); round += 1)
  for (const [variant, measured] of starts) measured.push(await start(variant));

console.log('| checkpoint | init | first answer | second answer | private memory |\n| --- | --- | --- | --- | --- |');
for (const [{ name }, measured] of starts) {
  const [init, answer, warm, memory] = (['initMs', 'answerMs', 'warmMs', 'memoryMegabytes'] as const).map((key) =>
    Math.round(median(measured.map((one) => one[key]))),
  );
  console.log(
    `| ${name} | ${init} ms | ${answer} ms | ${warm} ms | ${Number.isNaN(memory) ? 'not measured' : `${memory} MB`} |`,
  );
}
