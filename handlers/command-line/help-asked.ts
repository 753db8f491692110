/** Whether a command is asked for its help. This file imports nothing: a process asks before anything else is loaded. */
export function isHelpAsked(args: readonly string[] = process.argv.slice(2)): boolean {
  const end = args.indexOf('--');
  return (end === -1 ? args : args.slice(0, end)).some((argument) => argument === '--help' || argument === '-h');
}
