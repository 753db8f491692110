import { medians, ratios, type Turns } from './turns.ts';

/** Markdown tables with a column for each side. */
export class Table {
  readonly #columns: readonly string[];

  constructor(columns: readonly string[]) {
    this.#columns = columns;
    printRow(['', ...columns]);
    printRow(['---', ...columns.map(() => '---')]);
  }

  /** A row of cells by column; a side without one has an empty cell. */
  row(what: string, cells: ReadonlyMap<string, string>): void {
    printRow([what, ...this.#columns.map((column) => cells.get(column) ?? '')]);
  }

  numbers(what: string, numbers: ReadonlyMap<string, number>, shown: (value: number) => string): void {
    this.row(what, new Map([...numbers].map(([name, value]) => [name, shown(value)])));
  }

  /** Medians with the median of the ratios to the first side. */
  times<T>(what: string, turns: Turns<T>, numberOf: (figure: T) => number, shown = milliseconds): void {
    const ratioOf = ratios(turns, numberOf);
    const cell = (name: string, value: number) => {
      const ratio = ratioOf.get(name);
      return ratio === undefined ? shown(value) : `${shown(value)} (${ratio.toFixed(2)})`;
    };
    this.row(what, new Map([...medians(turns, numberOf)].map(([name, value]) => [name, cell(name, value)])));
  }
}

export function milliseconds(value: number): string {
  return `${value.toFixed(value < 30 ? 1 : 0)} ms`;
}

function printRow(cells: readonly string[]): void {
  console.log(`| ${cells.join(' | ')} |`);
}
