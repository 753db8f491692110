import { FixedByteBudget } from '../../pipeline/images/byte-budget.ts';

/** Lets pending promises settle. */
export const settle = (): Promise<void> => new Promise(setImmediate);

/** A budget with the names of those who got bytes, in order. */
export function startBudget(capacityBytes: number) {
  const budget = new FixedByteBudget(capacityBytes);
  const served: string[] = [];
  const acquire = async (name: string, byteCount: number, client?: string) => {
    const release = await budget.acquire(byteCount, undefined, client);
    served.push(name);
    return release;
  };
  return { budget, served, acquire };
}
