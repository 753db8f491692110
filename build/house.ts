import type { MeasuredFunction, Source } from './sources.ts';

/** The shape of a folder: its rooms, the arrows between them, and how long its functions are. */

/** A room that imports from another one. `from` and `to` are names of files or folders directly below the folder. */
export interface Arrow {
  readonly from: string;
  readonly to: string;
  /** The number of pairs of files of which one imports the other. */
  readonly imports: number;
}

export interface LongFunction extends MeasuredFunction {
  readonly path: string;
}

export interface Lengths {
  readonly count: number;
  readonly median: number;
  readonly percentile90: number;
  /** The longest first. */
  readonly longest: readonly LongFunction[];
}

export interface FolderShape {
  /** From the repository's root; empty for the whole. */
  readonly folder: string;
  readonly rooms: readonly string[];
  readonly arrows: readonly Arrow[];
  /** The arrows that would have to go before no room imports, by way of others, from itself. */
  readonly upwards: readonly Arrow[];
  readonly lengths: Lengths;
}

/** Measures one folder: the files and folders directly below it are its rooms. */
export function shapeOf(folder: string, sources: readonly Source[]): FolderShape {
  const inside = sources.filter(({ path }) => isBelow(path, folder));
  const arrows = arrowsBetweenRooms(folder, inside);
  const rooms = [...new Set(inside.map(({ path }) => roomIn(folder, path)))].sort();
  return { folder, rooms, arrows, upwards: upwardArrows(arrows), lengths: lengthsOf(inside) };
}

/** The rooms of a folder with the lengths of each one's functions. */
export function lengthsByRoom(
  { folder, rooms }: FolderShape,
  sources: readonly Source[],
): ReadonlyMap<string, Lengths> {
  const inside = sources.filter(({ path }) => isBelow(path, folder));
  return new Map(rooms.map((room) => [room, lengthsOf(inside.filter(({ path }) => roomIn(folder, path) === room))]));
}

function isBelow(path: string, folder: string): boolean {
  return folder === '' || path.startsWith(`${folder}/`);
}

function roomIn(folder: string, path: string): string {
  const inside = folder === '' ? path : path.slice(folder.length + 1);
  return inside.split('/')[0] ?? inside;
}

function arrowsBetweenRooms(folder: string, inside: readonly Source[]): readonly Arrow[] {
  const paths = new Set(inside.map(({ path }) => path));
  const counts = new Map<string, Arrow>();
  for (const { path, imports } of inside) {
    for (const target of imports.filter((imported) => paths.has(imported))) {
      const [from, to] = [roomIn(folder, path), roomIn(folder, target)];
      const arrow = `${from} → ${to}`;
      if (from !== to) counts.set(arrow, { from, to, imports: (counts.get(arrow)?.imports ?? 0) + 1 });
    }
  }
  return [...counts.values()];
}

/** Takes away the thinnest arrow of those that lie on a circle, until there is no circle. */
function upwardArrows(arrows: readonly Arrow[]): readonly Arrow[] {
  const onCircle = arrows.filter(({ from, to }) => reachableFrom(to, arrows).has(from));
  const [thinnest] = onCircle.toSorted((one, other) => one.imports - other.imports);
  if (thinnest === undefined) return [];
  return [thinnest, ...upwardArrows(arrows.filter((arrow) => arrow !== thinnest))];
}

/** The room itself, and all that its arrows lead to by way of others. */
function reachableFrom(room: string, arrows: readonly Arrow[]): ReadonlySet<string> {
  const reached = new Set([room]);
  // The iteration over a set also visits members that are added meanwhile.
  for (const reachedRoom of reached) for (const { from, to } of arrows) if (from === reachedRoom) reached.add(to);
  return reached;
}

function lengthsOf(sources: readonly Source[]): Lengths {
  const functions = sources.flatMap((source) => source.functions.map((one) => ({ ...one, path: source.path })));
  const longest = functions.toSorted((one, other) => other.lines - one.lines);
  return {
    count: functions.length,
    median: linesAt(0.5, longest),
    percentile90: linesAt(0.9, longest),
    longest,
  };
}

/** The length that this share of the functions does not exceed. */
function linesAt(share: number, longest: readonly LongFunction[]): number {
  return longest[longest.length - Math.max(1, Math.ceil(share * longest.length))]?.lines ?? 0;
}

/** Bounds of one folder. An absent one does not hold. */
export interface Bounds {
  readonly rooms?: number;
  readonly arrows?: number;
  readonly upwards?: number;
  readonly median?: number;
  readonly percentile90?: number;
  readonly longest?: number;
}

/** The bounds that keep the house easy to find one's way in, by folder. The empty key is for the whole. */
export const houseBounds: Readonly<Record<string, Bounds>> = {
  '': { median: 8, percentile90: 22, longest: 55 },
  handlers: { rooms: 6 },
  'handlers/http': { rooms: 14, arrows: 30 },
  checkpoint: { rooms: 10, upwards: 0 },
};

/** One sentence for each bound that the folder exceeds. */
export function exceededBounds({ folder, rooms, arrows, upwards, lengths }: FolderShape): readonly string[] {
  const measured: Required<Bounds> = {
    rooms: rooms.length,
    arrows: arrows.length,
    upwards: upwards.length,
    median: lengths.median,
    percentile90: lengths.percentile90,
    longest: lengths.longest[0]?.lines ?? 0,
  };
  const bounds = Object.entries(houseBounds[folder] ?? {}) as [keyof Bounds, number][]; // The keys of a literal above.
  return bounds
    .filter(([name, bound]) => measured[name] > bound)
    .map(([name, bound]) => `${folder || 'the whole'}: expected ${name} of at most ${bound}, got ${measured[name]}`);
}
