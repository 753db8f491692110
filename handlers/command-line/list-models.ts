import { readCachedFiles } from '../../checkpoint/hub/cached-files.ts';
import { readHubSettings } from '../../checkpoint/hub/hub-settings.ts';
import { type KnownModel, knownModels } from '../../checkpoint/hub/known-models.ts';
import { parseHubReference } from '../../checkpoint/hub/reference.ts';
import { readArguments, runCommand } from './command.ts';

/** `npm run list_models`: lists the published checkpoints that can be served, and says which are in the Hub's cache. */

const usage = `Usage: blip-handler list_models      in a checkout: npm run -s list_models

Lists the published checkpoints that can be served, with their tasks, their sizes in float32, in int8 and with a language
model of 4 bits (quantize makes those), and the licence of their card. Says which are in the Hub's cache.
  --help           this text
`;

const BYTES_PER_PARAMETER = 4;

function describe({ reference, task, parameterCount, quantizedBytes, licence }: KnownModel): readonly string[] {
  const sizes = [parameterCount * BYTES_PER_PARAMETER, quantizedBytes?.[8], quantizedBytes?.[4]];
  const { missing } = readCachedFiles(parseHubReference(reference), readHubSettings(process.env));
  return [reference, task, ...sizes.map(gigabytes), licence, missing.length === 0 ? 'present' : ''];
}

/** Sizes are known of models that may need a smaller copy to fit into memory. */
function gigabytes(bytes: number | undefined): string {
  return bytes === undefined ? '-' : `${(bytes / 1e9).toFixed(1)} GB`;
}

function listModels(): void {
  const rows = [['MODEL', 'TASK', 'FLOAT32', 'INT8', '4 BITS', 'LICENCE', ''], ...knownModels.map(describe)];
  const widths = [0, 1, 2, 3, 4, 5].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows) {
    const line = row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
    process.stdout.write(`${line.trimEnd()}\n`);
  }
}

await runCommand(() => {
  const { values } = readArguments({ options: { help: { type: 'boolean', short: 'h' } } });
  if (values.help === true) process.stderr.write(usage);
  else listModels();
});
