#!/usr/bin/env node

/** The program `blip-handler`: each command is a program of its own, loaded when it is asked for. */

const commands: Readonly<Record<string, { readonly run: () => Promise<unknown>; readonly says: string }>> = {
  serve: { run: () => import('./serve.ts'), says: 'serves models over HTTP; environment variables set it up' },
  invoke: { run: () => import('./invoke.ts'), says: 'one request without a server' },
  download: { run: () => import('./download.ts'), says: 'fetches a checkpoint from the Hub' },
  quantize: { run: () => import('./quantize.ts'), says: 'makes an int8 checkpoint of one of floats' },
  list_models: { run: () => import('./list-models.ts'), says: 'names the published checkpoints' },
};

const [name = ''] = process.argv.splice(2, 1); // What remains are the command's own arguments.
const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
if (command === undefined) {
  const lines = Object.entries(commands).map(([known, { says }]) => `  ${known.padEnd(12)} ${says}`);
  process.stderr.write(`Usage: blip-handler COMMAND [options]\n\n${lines.join('\n')}\n`);
  process.exitCode = name === '' || name === '--help' ? 0 : 1;
} else {
  await command.run();
}
