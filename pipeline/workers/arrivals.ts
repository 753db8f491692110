import type { LoadStep } from '../images/load-step.ts';

/** An image that is loaded. It ends when its group is submitted, or will never be. */
export interface Arrival {
  enter(step: LoadStep): void;
  end(): void;
}

/**
 * How long the groups of a request wait for its images that are decoded. Those that take longer than a part of this are
 * decoded in another process.
 */
const NEAR_LIMIT_MS = 1_000;
/** How long they wait, at most, for those that may take any time. */
const AWAY_LIMIT_MS = 250;

/** The images of one request that are on their way to a batcher, so that they may share a batch. */
export class Arrivals {
  readonly #steps = new Map<Arrival, LoadStep>();
  readonly #onChange: () => void;

  /** @param onChange called when an image is nearer or farther than before, or comes no more. */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** Announces an image. */
  add(): Arrival {
    const arrival: Arrival = {
      enter: (step) => {
        if (this.#steps.has(arrival)) this.#steps.set(arrival, step);
        this.#onChange();
      },
      end: () => {
        if (this.#steps.delete(arrival)) this.#onChange();
      },
    };
    this.#steps.set(arrival, 'away');
    return arrival;
  }

  /**
   * How long the groups that are there wait for the images that are not, from the arrival of the first group on.
   * @param runMs the time of a run. A group that waits longer for another than a run would take has gained nothing.
   */
  limitMs(runMs: number): number {
    const steps = new Set(this.#steps.values());
    if (steps.has('near')) return NEAR_LIMIT_MS;
    return steps.has('away') ? Math.min(runMs, AWAY_LIMIT_MS) : 0;
  }
}
