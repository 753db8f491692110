import type Handler from '../../../../app.ts';
import { encodeEnd } from './job-answers.ts';
import { JobShelf } from './job-shelf.ts';

/** A shelf for each token and model, so that nobody sees the jobs of another. */
export class Shelves {
  readonly #maxBytes: number;
  readonly #shelves = new Map<Handler, Map<string | undefined, JobShelf>>();

  /** @param maxBytes the most bytes of answers that each shelf keeps. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The shelf of a token and a model; an empty one at first. */
  of(token: string | undefined, model: Handler): JobShelf {
    const shelvesOfModel = this.#shelves.get(model) ?? new Map<string | undefined, JobShelf>();
    const shelf = shelvesOfModel.get(token) ?? new JobShelf({ maxBytes: this.#maxBytes, encode: encodeEnd });
    this.#shelves.set(model, shelvesOfModel.set(token, shelf));
    return shelf;
  }

  /** Whether a client of any shelf has something to come back for (job-shelf.ts). */
  areBusy(withinMs: number): boolean {
    return this.#all().some((shelf) => shelf.isBusy(withinMs));
  }

  /**
   * Cancels the jobs that nobody waits for.
   * @returns the jobs whose ends no client knows.
   */
  close(): readonly string[] {
    return this.#all().flatMap((shelf) => shelf.close());
  }

  #all(): readonly JobShelf[] {
    return [...this.#shelves.values()].flatMap((shelvesOfModel) => [...shelvesOfModel.values()]);
  }
}
