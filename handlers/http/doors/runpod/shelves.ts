import type Handler from '../../../../app.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { encodeEnd } from './job-answers.ts';
import { JobShelf } from './job-shelf.ts';
import type { SharedJobs } from './shared-jobs.ts';
import { SharedShelf } from './shared-shelf.ts';

/** The jobs of one token and model. */
export interface ClientJobs {
  /** Those of this process. */
  readonly shelf: JobShelf;
  /**
   * Those of all replicas; `undefined` where they share none.
   * @throws HandlerError `NOT_READY` before the model is loaded, and has its name.
   */
  shared(): SharedShelf | undefined;
}

/** A shelf for each token and model, so that nobody sees the jobs of another. */
export class Shelves {
  readonly #maxBytes: number;
  readonly #sharedJobs: SharedJobs | undefined;
  readonly #shelves = new Map<Handler, Map<string | undefined, JobShelf>>();

  /**
   * @param maxBytes the most bytes of answers that each shelf keeps.
   * @param sharedJobs `undefined` where replicas share no jobs.
   */
  constructor(maxBytes: number, sharedJobs: SharedJobs | undefined) {
    this.#maxBytes = maxBytes;
    this.#sharedJobs = sharedJobs;
  }

  /** The jobs of a token and a model; none at first. */
  of(token: string | undefined, model: Handler): ClientJobs {
    const shelvesOfModel = this.#shelves.get(model) ?? new Map<string | undefined, JobShelf>();
    const shelf = shelvesOfModel.get(token) ?? new JobShelf({ maxBytes: this.#maxBytes, encode: encodeEnd });
    this.#shelves.set(model, shelvesOfModel.set(token, shelf));
    return { shelf, shared: () => this.#shared(token, model, shelf) };
  }

  /** Whether a client of any shelf has something to come back for (job-shelf.ts). */
  areBusy(withinMs: number): boolean {
    return this.#all().some((shelf) => shelf.isBusy(withinMs));
  }

  /**
   * Ends what nobody can ask this process for. Jobs that nobody waits for are cancelled; but where replicas share jobs
   * they go on to their ends, which the other replicas answer for.
   * @returns the jobs whose ends no client knows.
   */
  async close(): Promise<readonly string[]> {
    await this.#sharedJobs?.close();
    return this.#all().flatMap((shelf) => shelf.close());
  }

  #shared(token: string | undefined, model: Handler, shelf: JobShelf): SharedShelf | undefined {
    const jobs = this.#sharedJobs;
    if (jobs === undefined) return undefined;
    if (model.name === undefined)
      throw new HandlerError('NOT_READY', 'Expected a loaded model, got none yet. Ask again.');
    return new SharedShelf(jobs.records(token, model.name, this.#maxBytes), shelf, jobs);
  }

  #all(): readonly JobShelf[] {
    return [...this.#shelves.values()].flatMap((shelvesOfModel) => [...shelvesOfModel.values()]);
  }
}
