import { createHash, timingSafeEqual } from 'node:crypto';
import { HandlerError } from '../../protocol/errors.ts';

/** Enough to tell the tokens of a service apart. `printf %s TOKEN | sha256sum` begins with it. */
const NAME_LENGTH = 8;

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/**
 * A check of `Authorization: Bearer …` headers against the tokens; it lets everyone in when there are none. Digests of
 * equal length are compared in constant time, so that neither length nor content of a token shows in the time taken.
 * @returns a function that returns the name of the token, for logs and limits: the beginning of its digest; `undefined`
 *   when there are no tokens. It throws HandlerError `UNAUTHORIZED`.
 */
export function bearerTokenCheck(tokens: readonly string[]): (authorization: string | undefined) => string | undefined {
  const digests = tokens.map(digest);
  return (authorization) => {
    if (digests.length === 0) return undefined;
    const given = digest(/^bearer +(.+)$/i.exec(authorization ?? '')?.[1]?.trim() ?? '');
    const matches = digests.map((known) => timingSafeEqual(known, given));
    if (!matches.includes(true))
      throw new HandlerError('UNAUTHORIZED', 'Expected a bearer token that this service knows, got none or another.');
    return given.toString('hex').slice(0, NAME_LENGTH);
  };
}
