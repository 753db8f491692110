#!/usr/bin/env node

import { suggestion } from '../../protocol/known-names.ts';
import { version } from '../service/version.ts';

/** The program `blip-handler`. Each command is a program of its own, imported when it is asked for. */

interface Command {
  readonly run: () => Promise<unknown>;
  readonly description: string;
}

const commands: Readonly<Record<string, Command>> = {
  serve: { run: () => import('./serve.ts'), description: 'serves models over HTTP and gRPC' },
  invoke: { run: () => import('./invoke.ts'), description: 'one request without a server' },
  download: { run: () => import('./download.ts'), description: 'fetches a checkpoint from the Hub' },
  quantize: { run: () => import('./quantize.ts'), description: 'makes an int8 checkpoint of one of floats' },
  merge: { run: () => import('./merge.ts'), description: 'makes a checkpoint of a LoRA adapter and its base' },
  gpu: { run: () => import('./gpu.ts'), description: 'fetches what onnxruntime needs to use an NVIDIA card' },
  build: { run: () => import('./build.ts'), description: 'builds an image of the service, or writes its folder' },
  'list-models': { run: () => import('./list-models.ts'), description: 'names the published checkpoints' },
};

/** Other spellings of commands: CLIP-API-service has `list_models`. */
const aliases: Readonly<Record<string, string>> = { list_models: 'list-models' };

function usage(): string {
  const lines = Object.entries(commands).map(([name, { description }]) => `  ${name.padEnd(12)} ${description}`);
  return `Usage: blip-handler COMMAND [options]

${lines.join('\n')}

  help COMMAND, COMMAND --help     explains a command
  --version                        prints the version
`;
}

/** The command of that name, if there is one. */
function commandNamed(name: string): Command | undefined {
  const known = Object.hasOwn(aliases, name) ? (aliases[name] ?? name) : name;
  return Object.hasOwn(commands, known) ? commands[known] : undefined;
}

async function run(name: string): Promise<void> {
  const command = commandNamed(name);
  if (command !== undefined) await command.run();
  else {
    process.stderr.write(`There is no such command${suggestion(name, Object.keys(commands))}\n\n${usage()}`);
    process.exitCode = 1;
  }
}

const isHelp = (name: string): boolean => ['help', '--help', '-h'].includes(name);

const [name = 'help'] = process.argv.splice(2, 1); // The rest are the command's own arguments.
const [topic] = process.argv.slice(2);
if (name === '--version' || name === '-v') process.stdout.write(`blip-handler ${version}\n`);
else if (!isHelp(name)) await run(name);
else if (topic === undefined || isHelp(topic)) process.stdout.write(usage());
else {
  process.argv.splice(2, Number.POSITIVE_INFINITY, '--help');
  await run(topic);
}
