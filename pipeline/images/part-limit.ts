import { HandlerError } from '../../protocol/errors.ts';

/**
 * Refuses a file with more of something than decoders are given.
 * @throws HandlerError `IMAGE_TOO_COMPLEX`.
 */
export function requireAtMost(maximum: number, count: number, expected: string): void {
  if (count > maximum)
    throw new HandlerError('IMAGE_TOO_COMPLEX', `Expected an image with at most ${maximum} ${expected}, got more.`);
}
