#!/usr/bin/env node

import { suggestion } from '../../protocol/known-names.ts';

/** The program `blip-handler`. Each command is a program of its own, imported when it is asked for. */

const commands: Readonly<Record<string, { readonly run: () => Promise<unknown>; readonly description: string }>> = {
  serve: { run: () => import('./serve.ts'), description: 'serves models over HTTP; environment variables set it up' },
  invoke: { run: () => import('./invoke.ts'), description: 'one request without a server' },
  download: { run: () => import('./download.ts'), description: 'fetches a checkpoint from the Hub' },
  quantize: { run: () => import('./quantize.ts'), description: 'makes an int8 checkpoint of one of floats' },
  merge: { run: () => import('./merge.ts'), description: 'makes a checkpoint of a LoRA adapter and its base' },
  gpu: { run: () => import('./gpu.ts'), description: 'fetches what onnxruntime needs to use an NVIDIA card' },
  build: { run: () => import('./build.ts'), description: 'builds an image of the service, or writes its folder' },
  list_models: { run: () => import('./list-models.ts'), description: 'names the published checkpoints' },
};

const [name = ''] = process.argv.splice(2, 1); // The rest are the command's own arguments.
const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
if (command === undefined) {
  const lines = Object.entries(commands).map(([known, { description }]) => `  ${known.padEnd(12)} ${description}`);
  const isAsked = ['', '--help', '-h'].includes(name);
  if (!isAsked) process.stderr.write(`There is no such command${suggestion(name, Object.keys(commands))}\n\n`);
  process.stderr.write(`Usage: blip-handler COMMAND [options]\n\n${lines.join('\n')}\n`);
  process.exitCode = isAsked ? 0 : 1;
} else {
  await command.run();
}
