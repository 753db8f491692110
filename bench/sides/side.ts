import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Int8Folders } from '../int8.ts';
import { type Request, root, type Task } from './requests.ts';

/** The programs that are compared. Each is a process that answers requests in lines of JSON. */

export const THREADS = 2;

/** The forms of one checkpoint. */
export interface Folders extends Int8Folders {
  readonly checkpoint: string;
  /** What sides/convert_openvino.py wrote. */
  readonly openvino: string;
}

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
}

export interface Side {
  readonly name: string;
  /** What must be installed, or exist, for this side to run; `undefined` when it does. */
  readonly missing: string | undefined;
  /** Whether it computes in float32, so that its token ids must be torch's. */
  readonly isFloat32: boolean;
  readonly isOurs: boolean;
  /** A process that loads the checkpoint and answers each line of its input. */
  serve(task: Task, folders: Folders): Command;
  /** A process that captions once, or continues a text, and ends. */
  captionOnce(folders: Folders, request: Request, task?: Task): Command;
}

const python = process.env['PYTHON'] ?? 'python';

function pythonSide(
  name: string,
  modules: string,
  isFloat32: boolean,
  args: (task: Task, folders: Folders) => string[],
): Side {
  const command = (task: Task, folders: Folders, ...request: string[]): Command => ({
    file: python,
    args: [...args(task, folders), String(THREADS), ...request],
    environment: { HF_HUB_OFFLINE: '1' },
  });
  return {
    name,
    missing: missingModules(modules),
    isFloat32,
    isOurs: false,
    serve: command,
    captionOnce: (folders, request, task = 'captioning') => command(task, folders, JSON.stringify(request)),
  };
}

function missingModules(modules: string): string | undefined {
  const find = `from importlib.util import find_spec; print(*(name for name in '${modules}'.split(', ') if not find_spec(name)))`;
  const { status, stdout } = spawnSync(python, ['-c', find], { encoding: 'utf8' });
  if (status !== 0) return `there is no ${python}; PYTHON names another`;
  const names = stdout.trim();
  return names === '' ? undefined : `${python} has no ${names.replaceAll(' ', ', ')}`;
}

export function torchSide(precision: 'float32' | 'bfloat16'): Side {
  return pythonSide(`torch ${precision}`, 'torch, transformers', precision === 'float32', (task, { checkpoint }) => [
    `${root}bench/sides/torch_side.py`,
    task,
    checkpoint,
    precision,
  ]);
}

function openvinoSide(name: string, folder: 'float32' | 'int8'): Side {
  return pythonSide(name, 'openvino, nncf, torch, transformers', false, (task, { openvino }) => [
    `${root}bench/sides/openvino_side.py`,
    task,
    `${openvino}/${folder}`,
  ]);
}

/** `weights` are those of a server; a process that captions once chooses for itself, unless `always` says so. */
export function ourSide(
  name: string,
  folder: 'checkpoint' | keyof Int8Folders,
  weights: 'mapped' | 'packed',
  always = false,
): Side {
  const environment = { BLIP_THREADS: String(THREADS), BLIP_WORKERS: '1', BLIP_EXECUTION_PROVIDER: 'cpu' };
  const withWeights = { ...environment, BLIP_WEIGHTS: weights };
  return {
    name: `blip-handler ${name}`,
    missing: existsSync(`${root}dist/app.js`) ? undefined : 'dist/ is not built (npm run build)',
    isFloat32: folder === 'checkpoint',
    isOurs: true,
    serve: (task, folders) => ({
      file: process.execPath,
      args: [`${root}bench/sides/handler-side.mjs`, task, folders[folder]],
      environment: withWeights,
    }),
    captionOnce: (folders, { images, texts, newTokens }) => ({
      file: process.execPath,
      args: [
        `${root}dist/invoke.js`,
        '--checkpoint',
        folders[folder],
        '--img_url',
        ...images,
        ...(texts.length > 0 ? ['--text', ...texts] : []),
        '--parameters',
        forced(newTokens),
      ],
      environment: always ? withWeights : environment,
    }),
  };
}

function forced(newTokens: number): string {
  return JSON.stringify({ max_new_tokens: newTokens, min_new_tokens: newTokens });
}

/** In the order of the tables' columns. Ratios are to the first. */
const sides: readonly Side[] = [
  torchSide('float32'),
  torchSide('bfloat16'),
  openvinoSide('OpenVINO default', 'float32'),
  openvinoSide('OpenVINO int8', 'int8'),
  ourSide('float32', 'checkpoint', 'mapped'),
  ourSide('float32 packed', 'checkpoint', 'packed', true),
  ourSide('int8', 'int8', 'packed'),
  ourSide('int8 calibrated', 'calibratedInt8', 'packed'),
];

/** The sides that can run here; says which are left out, and why. */
export function availableSides(): readonly Side[] {
  for (const { name, missing } of sides) if (missing !== undefined) console.log(`${name} is left out: ${missing}.`);
  return sides.filter(({ missing }) => missing === undefined);
}
