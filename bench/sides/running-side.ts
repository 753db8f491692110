import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Answer, Request, Task } from './requests.ts';
import type { Command, Folders, Side } from './side.ts';

const ERROR_CHARACTERS = 2000;

/** What a side says of itself when it is ready. */
export interface About {
  readonly precision: string;
  readonly loadMs?: number;
  readonly modelLoadMs?: number;
}

export interface Memory {
  /** Of this process alone. */
  readonly privateMegabytes: number;
  /** With the files that are mapped into it. */
  readonly residentMegabytes: number;
}

function start({ file, args, environment }: Command, stdin: 'pipe' | 'ignore'): ChildProcess {
  return spawn(file, args, { stdio: [stdin, 'pipe', 'pipe'], env: { ...process.env, ...environment } });
}

/** The end of a process's stderr, for the error message when it fails. */
function endOfErrors(child: ChildProcess): () => string {
  let end = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    end = (end + chunk).slice(-ERROR_CHARACTERS);
  });
  return () => end;
}

/** A process of a side that has loaded its checkpoint and answers requests, one after another. */
export class RunningSide {
  readonly side: Side;
  readonly about: About;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #errors: () => string;

  private constructor(
    side: Side,
    child: ChildProcess,
    lines: AsyncIterator<string>,
    about: About,
    errors: () => string,
  ) {
    this.side = side;
    this.about = about;
    this.#child = child;
    this.#lines = lines;
    this.#errors = errors;
  }

  static async start(side: Side, task: Task, folders: Folders): Promise<RunningSide> {
    const child = start(side.serve(task, folders), 'pipe');
    if (child.stdout === null) throw new Error(`Expected ${side.name} to have an output, got none.`);
    const errors = endOfErrors(child);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const about: About = await nextLine(side, lines, errors);
    return new RunningSide(side, child, lines, about, errors);
  }

  /** @throws Error with the end of its stderr when the process ended. */
  async answer(request: Request): Promise<Answer> {
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    return nextLine(this.side, this.#lines, this.#errors);
  }

  get name(): string {
    return this.side.name;
  }

  /** As it is now, from Linux; not a number elsewhere. */
  memory(): Memory {
    const path = `/proc/${this.#child.pid}/status`;
    const status = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const megabytes = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1000;
    return { privateMegabytes: megabytes('RssAnon'), residentMegabytes: megabytes('VmRSS') };
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin?.end();
    await ended;
  }
}

async function nextLine<T>(side: Side, lines: AsyncIterator<string>, errors: () => string): Promise<T> {
  const line = await lines.next();
  if (line.done === true)
    throw new Error(`Expected an answer of ${side.name}, got the end of its process:\n${errors()}`);
  return JSON.parse(line.value);
}

export async function startAll(sides: readonly Side[], task: Task, folders: Folders): Promise<readonly RunningSide[]> {
  const all: RunningSide[] = [];
  for (const side of sides) all.push(await RunningSide.start(side, task, folders)); // One at a time, as memory is needed.
  return all;
}

export async function stopAll(all: readonly RunningSide[]): Promise<void> {
  await Promise.all(all.map((running) => running.stop()));
}

/** The milliseconds of a process from its start to its end. */
export async function runToEnd(command: Command): Promise<number> {
  const startMs = performance.now();
  const child = start(command, 'ignore');
  const errors = endOfErrors(child);
  child.stdout?.resume();
  const exitCode = await new Promise((resolve) => child.once('exit', resolve));
  if (exitCode !== 0)
    throw new Error(`Expected ${command.args[0]} to succeed, got exit code ${exitCode}:\n${errors()}`);
  return performance.now() - startMs;
}
