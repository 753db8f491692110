import { styleText } from 'node:util';
import { isNews } from '../../pipeline/cuda/diagnosis.ts';

/**
 * Log lines for a person at a terminal, made of the lines of JSON: one short line for a request, a table of the models, an
 * address to click. docs/decisions/0042-command-line.md says why this is no library.
 */

type Fields = Readonly<Record<string, unknown>>;
type Colour = Parameters<typeof styleText>[0];

const WARNING = 40;
const ERROR = 50;
/** Fields that every line has, or that other words of it say. */
const unnamedFields = new Set(['level', 'time', 'pid', 'hostname', 'msg', 'reqId', 'err', 'stack', 'type']);
/** Columns of the table of models, by the longest texts that they usually have. */
const modelColumns = [
  { title: 'MODEL', width: 18 },
  { title: 'TASK', width: 18 },
  { title: 'DEVICE', width: 8 },
  { title: 'PRECISION', width: 9 },
  { title: 'LOADED IN', width: 9 },
] as const;

export class TextLog {
  readonly #hasColours: boolean;
  #isInTable = false;

  constructor({ hasColours }: { readonly hasColours: boolean }) {
    this.#hasColours = hasColours;
  }

  /** The text of a line of JSON; empty for one that says nothing to a person. */
  format(line: string): string {
    const fields = parseFields(line);
    if (fields === undefined) return line;
    const message = text(fields['msg']);
    if (message === 'incoming request') return ''; // Its end has a line.
    const isModel = message === 'ready' && 'model' in fields;
    const heading = isModel && !this.#isInTable ? `${this.#time(fields)}${this.#colour('dim', tableHeading())}\n` : '';
    this.#isInTable = isModel;
    return `${heading}${this.#time(fields)}${isModel ? this.#model(fields) : this.#event(message, fields)}\n`;
  }

  #event(message: string, fields: Fields): string {
    const listening = /^Server listening at (\S+)$/.exec(message)?.[1];
    if (listening !== undefined) return `Listening at ${this.#colour(['cyan', 'underline'], listening)}`;
    if (message === 'gRPC listening') return `Listening for gRPC at ${text(fields['host'])}:${text(fields['port'])}`;
    if ('responseTime' in fields) return this.#request(message, fields);
    return `${this.#severity(fields)}${message}${this.#others(fields)}${stackOf(fields)}`;
  }

  /** A request over HTTP, or a call over gRPC, that is over. */
  #request(message: string, fields: Fields): string {
    const [result, grpc] = [record(fields['res']), record(fields['grpc'])];
    const { method, url } = 'method' in result ? result : record(fields['req']);
    const name = 'path' in grpc ? `gRPC ${text(grpc['path'])}` : `${text(method)} ${text(url)}`;
    const status = text(grpc['status'] ?? result['statusCode']);
    const code = grpc['errorCode'] === undefined ? '' : ` ${text(grpc['errorCode'])}`;
    const left = message === 'client left' ? ' client left' : '';
    const isGood = status === 'OK' || /^[123]/.test(status);
    return `${name} ${this.#colour(isGood ? 'green' : 'red', `${status}${code}`)}${left} ${time(fields['responseTime'])}`;
  }

  #model(fields: Fields): string {
    const { model, task, executionProvider, devices, precision, loadMs } = fields;
    const device = Array.isArray(devices) ? `${text(executionProvider)} ${devices.join(',')}` : text(executionProvider);
    const row = tableRow([text(model), text(task), device, text(precision), time(loadMs)]);
    const reason = text(fields['reason']);
    return reason !== '' && isNews(reason) ? `${row}  ${this.#colour('dim', reason)}` : row;
  }

  #time({ time: timeMs }: Fields): string {
    const clock = typeof timeMs === 'number' ? new Date(timeMs).toTimeString().slice(0, 8) : '';
    return `${this.#colour('dim', clock.padEnd(8))}  `;
  }

  #severity({ level }: Fields): string {
    if (typeof level !== 'number' || level < WARNING) return '';
    return level < ERROR ? this.#colour('yellow', 'warning: ') : this.#colour('red', 'error: ');
  }

  /** The fields that no words of the line say, as `name=value`. */
  #others(fields: Fields): string {
    const others = Object.entries(fields).filter(([name]) => !unnamedFields.has(name));
    if (others.length === 0) return '';
    return ` ${this.#colour('dim', others.map(([name, value]) => `${name}=${text(value)}`).join(' '))}`;
  }

  #colour(colour: Colour, plain: string): string {
    return this.#hasColours && plain !== '' ? styleText(colour, plain, { validateStream: false }) : plain;
  }
}

function parseFields(line: string): Fields | undefined {
  try {
    return record(JSON.parse(line));
  } catch {
    return undefined;
  }
}

function record(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

/**
 * A value in one line. Clients choose parts of it, such as paths: characters that move the cursor or colour the text are
 * written as numbers.
 */
function text(value: unknown): string {
  if (value === undefined) return '';
  const plain = typeof value === 'string' ? value : JSON.stringify(value);
  return plain.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    const number = character.codePointAt(0) ?? 0;
    return `\\u{${number.toString(16)}}`;
  });
}

/** Where an error comes from, for the person who looks for its cause. */
function stackOf({ err }: Fields): string {
  const { stack, message } = record(err);
  const lines = text(stack ?? message).split('\\u{a}');
  return lines[0] === '' ? '' : `\n${lines.map((line) => `    ${line}`).join('\n')}`;
}

function time(value: unknown): string {
  if (typeof value !== 'number') return '';
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

function tableRow(cells: readonly string[]): string {
  return cells
    .map((cell, column) => cell.padEnd(modelColumns[column]?.width ?? 0))
    .join('  ')
    .trimEnd();
}

function tableHeading(): string {
  return tableRow(modelColumns.map(({ title }) => title));
}
