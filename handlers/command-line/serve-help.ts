import { runCommand } from './command.ts';
import { serveHelp } from './setting-help.ts';

/** `serve --help`, for which no server is loaded. */

await runCommand(serveHelp(process.stdout.columns), () => undefined);
