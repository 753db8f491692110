import { createHash, timingSafeEqual } from 'node:crypto';
import { HandlerError } from '../../protocol/errors.ts';

/** Long enough to tell the tokens of a service apart. `printf %s TOKEN | sha256sum` prints the same beginning. */
const NAME_LENGTH = 8;

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/**
 * A check of `Authorization: Bearer …` headers against the tokens. Without tokens it lets everyone in. It compares
 * digests, which have equal lengths, in constant time, so that the time shows neither length nor content of a token.
 * @returns a function that returns the name of the token, for logs and limits: the beginning of its digest; `undefined`
 *   when there are no tokens. It throws HandlerError `UNAUTHORIZED`.
 */
export function bearerTokenCheck(tokens: readonly string[]): (authorization: string | undefined) => string | undefined {
  const knownDigests = tokens.map(digest);
  return (authorization) => {
    if (knownDigests.length === 0) return undefined;
    const received = digest(/^bearer +(.+)$/i.exec(authorization ?? '')?.[1]?.trim() ?? '');
    const matches = knownDigests.map((known) => timingSafeEqual(known, received));
    if (!matches.includes(true))
      throw new HandlerError('UNAUTHORIZED', 'Expected a bearer token that this service knows, got none or another.');
    return received.toString('hex').slice(0, NAME_LENGTH);
  };
}
