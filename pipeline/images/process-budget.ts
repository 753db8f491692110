import { HandlerError } from '../../protocol/errors.ts';
import { type ByteBudget, FixedByteBudget } from './byte-budget.ts';

/** A model's part in a budget that the models of a process share. */
export interface BudgetShare {
  readonly budget: ByteBudget;
  /** The model is closed. Further calls change nothing. */
  readonly leave: () => void;
}

/**
 * The one budget of decoded images in a process: its models share it, because they share the memory. The first model to
 * join sets the bound. When all have left, the next one may set another.
 */
export class ProcessBudget {
  #current: { readonly capacityBytes: number; readonly budget: ByteBudget } | undefined;
  readonly #shares = new Set<BudgetShare>();

  /** @throws HandlerError `SETTINGS_INVALID` when models that have not left share a budget of another bound. */
  join(capacityBytes: number): BudgetShare {
    const { budget } = this.#require(capacityBytes);
    const share: BudgetShare = { budget, leave: () => this.#leave(share) };
    this.#shares.add(share);
    return share;
  }

  #require(capacityBytes: number) {
    this.#current ??= { capacityBytes, budget: new FixedByteBudget(capacityBytes) };
    if (this.#current.capacityBytes === capacityBytes) return this.#current;
    throw new HandlerError(
      'SETTINGS_INVALID',
      `Expected BLIP_MAX_DECODED_BYTES to be ${this.#current.capacityBytes}, as for the other models of this process, ` +
        `got ${capacityBytes}.`,
    );
  }

  #leave(share: BudgetShare): void {
    this.#shares.delete(share);
    if (this.#shares.size === 0) this.#current = undefined;
  }
}

/** Decoded images that wait, in this process. */
export const decodedBudget = new ProcessBudget();
