import { CheckpointError } from '../errors.ts';

/**
 * Runs an action that reads a file.
 * @throws CheckpointError `CHECKPOINT_FILE_UNREADABLE` in place of an error of the file system.
 */
export function explainReadErrors<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    const message = `${path}: expected a readable file (${errorCode(cause)}).`;
    throw new CheckpointError('CHECKPOINT_FILE_UNREADABLE', message, { cause });
  }
}

/**
 * Runs an action that reads a file which may be missing.
 * @returns `undefined` when there is no such file.
 * @throws as `explainReadErrors` does.
 */
export function readIfThere<T>(path: string, action: () => T): T | undefined {
  return explainReadErrors(path, () => {
    try {
      return action();
    } catch (cause) {
      if (isMissing(cause instanceof CheckpointError ? cause.cause : cause)) return undefined;
      throw cause;
    }
  });
}

/** Whether an error of the file system says that there is no such file. */
export function isMissing(cause: unknown): boolean {
  const code = errorCode(cause);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** The code of an error of the system, such as `ENOENT`. */
export function errorCode(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
}
