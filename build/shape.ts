import { exceededBounds, type FolderShape, houseBounds, type Lengths, lengthsByRoom, shapeOf } from './house.ts';
import { readSources, type Source } from './sources.ts';

/**
 * `npm run shape`: prints the rooms of the product's main folders, the arrows between them, the arrows that run upwards,
 * and how long functions are. A room is a file or a folder directly below; an arrow is a pair of rooms of which one
 * imports from the other, types included. An arrow runs upwards where without it a circle of rooms would be none. A
 * function's length is the number of lines from its first to its last, and a function inside another one counts in
 * both; callbacks without a name count in the function around them alone.
 *
 * Folders may be named: `npm run shape -- handlers/grpc`. With `--check` it exits with 1 when a bound in build/house.ts
 * is exceeded.
 */

const folders = ['handlers/http/doors', 'handlers/http', 'handlers', 'checkpoint', 'pipeline', 'models', ''];
const LONGEST_SHOWN = 5;

function describeFolder(shape: FolderShape, sources: readonly Source[]): string {
  const { folder, rooms, arrows, upwards, lengths } = shape;
  const nameWidth = Math.max(...rooms.map((room) => room.length));
  const byRoom = [...lengthsByRoom(shape, sources)].map(
    ([room, roomLengths]) => `  ${room.padEnd(nameWidth)}  ${describeLengths(roomLengths)}`,
  );
  return [
    `${folder === '' ? 'the whole' : `${folder}/`}: ${rooms.length} rooms, ${arrows.length} arrows, ${upwards.length} upwards`,
    ...upwards.map(({ from, to, imports }) => `  upwards: ${from} → ${to} (${imports} imports)`),
    ...byRoom,
    `  ${'all'.padEnd(nameWidth)}  ${describeLengths(lengths)}`,
    ...lengths.longest.slice(0, LONGEST_SHOWN).map(({ path, name, lines }) => `  ${lines} lines: ${name} in ${path}`),
  ].join('\n');
}

function describeLengths({ count, median, percentile90, longest }: Lengths): string {
  const [functions, largest] = [String(count).padStart(4), longest[0]?.lines ?? 0];
  return `${functions} functions, lines: median ${median}, 90th percentile ${percentile90}, longest ${largest}`;
}

const sources = readSources();
const named = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
for (const folder of named.length === 0 ? folders : named) {
  const shape = shapeOf(folder, sources);
  if (shape.rooms.length === 0) throw new Error(`Expected a folder with sources of the product, got ${folder}.`);
  process.stdout.write(`${describeFolder(shape, sources)}\n\n`);
}
if (process.argv.includes('--check')) {
  const exceeded = Object.keys(houseBounds).flatMap((folder) => exceededBounds(shapeOf(folder, sources)));
  for (const sentence of exceeded) process.stderr.write(`${sentence}\n`);
  process.exitCode = exceeded.length === 0 ? 0 : 1;
}
