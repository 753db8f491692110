type LogLine = (details: object, message: string) => void;

/** A structured logger, as far as the platforms need it. The one of the HTTP server is one. */
export interface Log {
  readonly debug: LogLine;
  readonly info: LogLine;
  readonly warn: LogLine;
  readonly error: LogLine;
  /** A logger that adds `bindings` to each of its lines. */
  readonly child: (bindings: Readonly<Record<string, string>>) => Log;
}
