import { HandlerError } from '../../protocol/errors.ts';
import { AdmittedRequest } from './admitted-request.ts';
import { bearerTokenCheck } from './bearer-token.ts';
import { BodyBudget, type HeldBytes } from './body-budget.ts';
import type { ServerSettings } from './server-settings.ts';

/** Requests without a token are counted together under this name. */
const ANONYMOUS = 'anonymous';

/** Decides who may ask the models, and how often at a time. The servers of a process share one, with its limits. */
export interface Admission {
  /**
   * Compares an `Authorization: Bearer …` header with the tokens.
   * @returns the name of the token, for logs and `admit`; `undefined` where there are no tokens.
   * @throws HandlerError `UNAUTHORIZED`.
   */
  readonly checkToken: (authorization: string | undefined) => string | undefined;
  /**
   * Counts a request among the running ones of its token, until it leaves.
   * @throws HandlerError `OVERLOADED` when the token has as many running requests as it may have.
   */
  readonly admit: (token: string | undefined) => AdmittedRequest;
  /** Bytes of this token's requests before they are admitted. */
  readonly holdBytes: (token: string | undefined) => HeldBytes;
}

type AdmissionSettings = Pick<ServerSettings, 'apiTokens' | 'maxRequestsPerToken'> &
  Partial<Pick<ServerSettings, 'maxHeldBodyBytes'>>;

/** An admission with the tokens and limits of the settings. A process needs exactly one, because it holds the counts. */
export function createAdmission({
  apiTokens,
  maxRequestsPerToken = Number.POSITIVE_INFINITY,
  maxHeldBodyBytes = Number.POSITIVE_INFINITY,
}: AdmissionSettings): Admission {
  // Half is left for others, where there are any.
  const bodies = new BodyBudget(maxHeldBodyBytes, apiTokens.length > 1 ? maxHeldBodyBytes / 2 : maxHeldBodyBytes);
  const runningCounts = new Map<string, number>();
  return {
    checkToken: bearerTokenCheck(apiTokens),
    holdBytes: (token) => bodies.open(token ?? ANONYMOUS),
    admit(token) {
      const client = token ?? ANONYMOUS;
      return new AdmittedRequest(token, countIn(runningCounts, client, maxRequestsPerToken), bodies.open(client));
    },
  };
}

/** Adds one to a client's count. @returns a function that subtracts it again; calls after the first do nothing. */
function countIn(runningCounts: Map<string, number>, client: string, maximum: number): () => void {
  const count = runningCounts.get(client) ?? 0;
  if (count >= maximum) {
    throw new HandlerError(
      'OVERLOADED',
      `Expected at most ${maximum} requests at a time, got more. Try again when one of them is answered.`,
    );
  }
  runningCounts.set(client, count + 1);
  let hasLeft = false;
  return () => {
    if (hasLeft) return;
    hasLeft = true;
    const others = (runningCounts.get(client) ?? 1) - 1;
    if (others > 0) runningCounts.set(client, others);
    else runningCounts.delete(client);
  };
}
