import type { Settings } from '../../pipeline/settings.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { bearerTokenCheck } from './bearer-token.ts';

/** Whose requests are counted together where there are no tokens. */
const ANONYMOUS = 'anonymous';

/** Who may ask the models, and how often at a time. The doors of a process share one, so that limits hold over all. */
export interface Admission {
  /**
   * Holds an `Authorization: Bearer …` header against the tokens.
   * @returns the name of the token, for logs and `enter`; `undefined` where there are no tokens.
   * @throws HandlerError `UNAUTHORIZED`.
   */
  readonly checkToken: (authorization: string | undefined) => string | undefined;
  /**
   * Counts a request among those of its token that run.
   * @returns a function that stops counting it; it may be called more than once.
   * @throws HandlerError `OVERLOADED` when as many run as may.
   */
  readonly enter: (token: string | undefined) => () => void;
}

/** Tokens and limits as the settings have them. A process has one: it holds the counts. */
export function createAdmission({ apiTokens, maxRequestsPerToken }: Settings): Admission {
  const running = new Map<string, number>();
  return {
    checkToken: bearerTokenCheck(apiTokens),
    enter: (token) => enter(running, token ?? ANONYMOUS, maxRequestsPerToken ?? Number.POSITIVE_INFINITY),
  };
}

function enter(running: Map<string, number>, client: string, maximum: number): () => void {
  const count = running.get(client) ?? 0;
  if (count >= maximum) {
    throw new HandlerError(
      'OVERLOADED',
      `Expected at most ${maximum} requests at a time, got more. Try again when one of them is answered.`,
    );
  }
  running.set(client, count + 1);
  let hasLeft = false;
  return () => {
    if (hasLeft) return;
    hasLeft = true;
    const others = (running.get(client) ?? 1) - 1;
    if (others > 0) running.set(client, others);
    else running.delete(client);
  };
}
