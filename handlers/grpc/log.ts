type LogLine = (details: object, message: string) => void;

/** What this door needs of a logger; that of the HTTP server is one. */
export interface Log {
  readonly debug: LogLine;
  readonly info: LogLine;
  readonly error: LogLine;
  /** A logger whose lines say all of `bindings`. */
  readonly child: (bindings: Readonly<Record<string, string>>) => Log;
}
