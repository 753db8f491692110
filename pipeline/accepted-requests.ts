import { HandlerError } from '../protocol/errors.ts';

/** How much of a model's work a request is. */
export interface RequestSize {
  /** Results: captions, answers, pairs, or images and texts to encode. */
  readonly items: number;
  /** Texts that the model computes for them: beams, returned texts and candidates of each item. */
  readonly sequences: number;
}

/** How much work may be accepted and not answered yet. */
export interface WorkLimits {
  /** Items of all clients together. When they are reached, a client still gets its share. */
  readonly maxItems: number;
  readonly maxItemsPerRequest?: number | undefined;
  readonly maxSequencesPerRequest?: number | undefined;
  readonly maxSequencesPerClient?: number | undefined;
}

type Client = string | undefined;

/**
 * The requests that a model has accepted and not answered yet, within limits. One client alone may have all items; when
 * others come, each may have an equal part of that number beside it. So a full queue of one client refuses no other, and
 * all clients together have at most `maxItems` x (1 + 1/2 + 1/3 + …).
 */
export class AcceptedRequests {
  readonly #limits: WorkLimits;
  readonly #answers = new Set<Promise<unknown>>();
  readonly #sizes = new Map<Client, RequestSize>();
  #itemCount = 0;

  constructor(limits: WorkLimits) {
    this.#limits = limits;
  }

  get itemCount(): number {
    return this.#itemCount;
  }

  /** @throws HandlerError `INVALID_INPUT` when so much work never has room, `OVERLOADED` when it has none now. */
  requireRoom({ items, sequences }: RequestSize, client?: string): void {
    const { maxItems, maxItemsPerRequest = maxItems, maxSequencesPerRequest, maxSequencesPerClient } = this.#limits;
    requireAtMost(items, Math.min(maxItems, maxItemsPerRequest), 'items in one request');
    requireAtMost(
      sequences,
      maxSequencesPerRequest,
      'sequences in one request (beams, texts or candidates of each item)',
    );
    requireAtMost(sequences, maxSequencesPerClient, 'sequences of one client');
    const accepted = this.#sizes.get(client) ?? nothing;
    if (this.#itemCount + items > maxItems && accepted.items + items > this.#shareOf(client))
      throw overloaded(`${maxItems} items to be waiting`);
    if (maxSequencesPerClient !== undefined && accepted.sequences + sequences > maxSequencesPerClient)
      throw overloaded(`${maxSequencesPerClient} sequences of one client to be waiting`);
  }

  /** Counts the work until its answer is there. A dropped request counts too, as long as its batch runs. */
  add<Answer>(size: RequestSize, answering: Promise<Answer>, client?: string): Promise<Answer> {
    this.#count(size, client, 1);
    const answer = answering.finally(() => {
      this.#answers.delete(answer);
      this.#count(size, client, -1);
    });
    this.#answers.add(answer);
    return answer;
  }

  async settled(): Promise<void> {
    await Promise.allSettled(this.#answers);
  }

  /** The items that a client may have although others have filled the queue. */
  #shareOf(client: Client): number {
    const others = [...this.#sizes.keys()].filter((each) => each !== client).length;
    return Math.ceil(this.#limits.maxItems / (others + 1));
  }

  #count({ items, sequences }: RequestSize, client: Client, sign: 1 | -1): void {
    const before = this.#sizes.get(client) ?? nothing;
    const after = { items: before.items + sign * items, sequences: before.sequences + sign * sequences };
    if (after.items > 0) this.#sizes.set(client, after);
    else this.#sizes.delete(client);
    this.#itemCount += sign * items;
  }
}

const nothing: RequestSize = { items: 0, sequences: 0 };

function requireAtMost(count: number, maximum: number | undefined, things: string): void {
  if (maximum === undefined || count <= maximum) return;
  throw new HandlerError('INVALID_INPUT', `Expected at most ${maximum} ${things}, got ${count}.`);
}

function overloaded(expectation: string): HandlerError {
  return new HandlerError('OVERLOADED', `Expected at most ${expectation}, got more. Try again soon.`);
}
