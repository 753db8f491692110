import { readCachedFiles } from '../../checkpoint/hub/cached-files.ts';
import { readHubSettings } from '../../checkpoint/hub/hub-settings.ts';
import { type KnownModel, knownModels } from '../../checkpoint/hub/known-models.ts';
import { parseHubReference } from '../../checkpoint/hub/reference.ts';
import { readArguments, runCommand, sharedHelp } from './command.ts';

/** `npm run list-models`: lists the published checkpoints that can be served, and says which are in the Hub's cache. */

const usage = `Usage: blip-handler list-models [--json]      in a checkout: npm run -s list-models

Lists the published checkpoints that can be served, with their tasks, their sizes in float32, in int8 and with a language
model of 4 bits (quantize makes those), and the licence of their card. Says which are in the Hub's cache.

  --json               a list of JSON, with sizes in bytes
${sharedHelp}`;

const BYTES_PER_PARAMETER = 4;

function isPresent({ reference }: KnownModel): boolean {
  return readCachedFiles(parseHubReference(reference), readHubSettings(process.env)).missing.length === 0;
}

function describe(model: KnownModel): readonly string[] {
  const { reference, task, parameterCount, quantizedBytes, licence } = model;
  const sizes = [parameterCount * BYTES_PER_PARAMETER, quantizedBytes?.[8], quantizedBytes?.[4]];
  return [reference, task, ...sizes.map(gigabytes), licence, isPresent(model) ? 'present' : ''];
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

/** The rows of the table as JSON; a size that is not known is absent. */
function listAsJson(): void {
  const models = knownModels.map((model) => {
    const { reference, task, parameterCount: parameters, quantizedBytes, licence } = model;
    const bytes = { float32: parameters * BYTES_PER_PARAMETER, int8: quantizedBytes?.[8], int4: quantizedBytes?.[4] };
    return { model: reference, task, parameters, bytes, licence, present: isPresent(model) };
  });
  process.stdout.write(`${JSON.stringify(models, null, 2)}\n`);
}

await runCommand(usage, () => {
  const { values } = readArguments({ options: { json: { type: 'boolean' } } });
  if (values.json === true) listAsJson();
  else listModels();
});
