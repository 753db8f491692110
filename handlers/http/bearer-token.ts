import { createHash, timingSafeEqual } from 'node:crypto';
import { HandlerError } from '../../protocol/errors.ts';

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/**
 * A check of `Authorization: Bearer …` headers against the tokens; it lets everyone in when there are none. Digests of
 * equal length are compared in constant time, so that neither length nor content of a token shows in the time taken.
 */
export function bearerTokenCheck(tokens: readonly string[]): (authorization: string | undefined) => void {
  const digests = tokens.map(digest);
  return (authorization) => {
    if (digests.length === 0) return;
    const given = digest(/^bearer +(.+)$/i.exec(authorization ?? '')?.[1]?.trim() ?? '');
    const matches = digests.map((known) => timingSafeEqual(known, given));
    if (!matches.includes(true))
      throw new HandlerError('UNAUTHORIZED', 'Expected a bearer token that this service knows, got none or another.');
  };
}
