import { HandlerError } from '../protocol/errors.ts';

/** The requests that a model has accepted and not answered yet, within a limit of items. */
export class AcceptedRequests {
  readonly #maxItems: number;
  readonly #answers = new Set<Promise<unknown>>();
  #itemCount = 0;

  constructor(maxItems: number) {
    this.#maxItems = maxItems;
  }

  get itemCount(): number {
    return this.#itemCount;
  }

  /** @throws HandlerError `INVALID_INPUT` when so many items never have room, `OVERLOADED` when they have none now. */
  requireRoom(itemCount: number): void {
    const maxItems = this.#maxItems;
    if (itemCount > maxItems) {
      throw new HandlerError('INVALID_INPUT', `Expected at most ${maxItems} items in one request, got ${itemCount}.`);
    }
    if (this.#itemCount + itemCount > maxItems) {
      throw new HandlerError(
        'OVERLOADED',
        `Expected at most ${maxItems} items to be waiting, got more. Try again soon.`,
      );
    }
  }

  /** Counts the items until their answer is there. A dropped request counts too, as long as its batch runs. */
  add<Answer>(itemCount: number, answering: Promise<Answer>): Promise<Answer> {
    this.#itemCount += itemCount;
    const answer = answering.finally(() => {
      this.#answers.delete(answer);
      this.#itemCount -= itemCount;
    });
    this.#answers.add(answer);
    return answer;
  }

  async settled(): Promise<void> {
    await Promise.allSettled(this.#answers);
  }
}
