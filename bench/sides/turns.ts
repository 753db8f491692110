import { setTimeout as sleep } from 'node:timers/promises';

/** Figures by side, turn by turn. */
export type Turns<T> = ReadonlyMap<string, readonly T[]>;

/** Threads of a runtime look for work for a while after a run. The next side waits until they have stopped. */
const PAUSE_MS = 250;

interface Named {
  readonly name: string;
}

/** Measures all sides in every turn, so that what slows the machine for a while slows all; each turn begins with another. */
export async function alternate<S extends Named, T>(
  sides: readonly S[],
  turns: number,
  measure: (side: S) => Promise<T>,
): Promise<Turns<T>> {
  const results = new Map<string, T[]>(sides.map(({ name }) => [name, []]));
  for (let turn = 0; turn < turns; turn += 1) {
    const first = turn % sides.length;
    for (const side of [...sides.slice(first), ...sides.slice(0, first)]) {
      await sleep(PAUSE_MS);
      results.get(side.name)?.push(await measure(side));
    }
  }
  return results;
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** The median over all turns of one number of each side. */
export function medians<T>(turns: Turns<T>, numberOf: (figure: T) => number): ReadonlyMap<string, number> {
  return new Map([...turns].map(([name, figures]) => [name, median(figures.map(numberOf))]));
}

/** The median of the ratios to the first side, turn by turn; the first itself has none. */
export function ratios<T>(turns: Turns<T>, numberOf: (figure: T) => number): ReadonlyMap<string, number> {
  const [first, ...others] = turns;
  const base = first?.[1].map(numberOf) ?? [];
  const ratioOf = (figures: readonly T[]) =>
    median(figures.map((figure, turn) => numberOf(figure) / (base[turn] ?? Number.NaN)));
  return new Map(others.map(([name, figures]) => [name, ratioOf(figures)]));
}
