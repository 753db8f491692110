import { HeldBytes } from './body-budget.ts';

/** A request that was let in. It counts among the running requests of its token until it leaves. */
export class AdmittedRequest {
  /** The name of the token; `undefined` where there are no tokens. */
  readonly token: string | undefined;
  /** Its body, which the process holds until the request leaves. */
  readonly body: HeldBytes;
  readonly #leave: () => void;
  #isHandled = false;
  #isKept = false;

  /** @param leave stops counting the request; it may be called more than once. */
  constructor(token: string | undefined, leave: () => void, body: HeldBytes = new HeldBytes(() => undefined)) {
    this.token = token;
    this.body = body;
    this.#leave = () => {
      body.release();
      leave();
    };
  }

  /** Does the work of the request, and counts it until `work` settles. With a client that leaves, that is at once. */
  async handle<T>(work: () => Promise<T>): Promise<T> {
    this.#isHandled = true;
    try {
      return await work();
    } finally {
      if (!this.#isKept) this.#leave();
    }
  }

  /**
   * Goes on counting the request for work that outlives its answer.
   * @returns a function that stops counting it; it may be called more than once.
   */
  keep(): () => void {
    this.#isKept = true;
    return this.#leave;
  }

  /** Stops counting a request that has no handler, because its body was refused or never arrived completely. */
  leaveUnlessHandled(): void {
    if (!this.#isHandled) this.#leave();
  }
}
