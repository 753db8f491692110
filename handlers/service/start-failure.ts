import { type EnvironmentVariables, readSetting } from '../../pipeline/setting-definitions.ts';
import { errorText } from '../../protocol/error-answer.ts';
import { describeFailure, failureLine } from './failure.ts';
import { isForPeople } from './log-format.ts';
import { type LogFormat, serverSettingDefinitions } from './server-settings.ts';

/** The text of a server that cannot start: in words where a person reads it, else `failureLine`. */
export function startFailure(
  thrown: unknown,
  environment: EnvironmentVariables = process.env,
  stream: Parameters<typeof isForPeople>[1] = process.stderr,
): string {
  if (!isForPeople(logFormat(environment), stream)) return failureLine(thrown);
  return `${errorText(describeFailure(thrown))}\n`;
}

/** The format that the settings ask for; they may be what failed. */
function logFormat(environment: EnvironmentVariables): LogFormat {
  try {
    return readSetting(serverSettingDefinitions.logFormat, environment);
  } catch {
    return 'auto';
  }
}
