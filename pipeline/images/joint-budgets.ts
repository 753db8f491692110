import { type ByteBudget, once } from './byte-budget.ts';

/** One image's part of the bytes that several images acquire together. */
export interface JointBudget extends ByteBudget {
  /** Lets the others go on without it, where it has not acquired yet. */
  withdraw(): void;
}

/**
 * The budgets of `count` images that are needed at once. None gets its bytes before all have asked or withdrawn; then
 * all get theirs, or all are refused, as soon as they have asked for more than there ever is. If each took its own, two
 * requests could hold a half each and wait for the other.
 * @param signal of their request: when it aborts while they wait, none gets any.
 * @param client whose request it is.
 */
export function jointBudgets(
  budget: ByteBudget,
  count: number,
  signal?: AbortSignal,
  client?: string,
): readonly JointBudget[] {
  const members = Array.from({ length: count }, createQuestion);
  const beyond = createQuestion();
  const all = Promise.all(members.map(({ answered }) => answered)).then(sumOf);
  const acquired = Promise.race([all, beyond.answered]).then((byteCount) => budget.acquire(byteCount, signal, client));
  acquired.catch(() => undefined); // Each image that asked gets the error. Where none asked, nobody needs it.
  let holderCount = 0;
  let askedBytes = 0;
  const releaseOne = async () => {
    holderCount -= 1;
    if (holderCount === 0) (await acquired)();
  };
  return members.map(({ answer }) => ({
    isJoint: true,
    async acquire(byteCount) {
      holderCount += 1;
      answer(byteCount);
      askedBytes += byteCount;
      if (askedBytes > (budget.capacityBytes ?? Number.POSITIVE_INFINITY)) beyond.answer(askedBytes);
      await acquired;
      return once(() => void releaseOne());
    },
    withdraw: () => answer(0),
  }));
}

function sumOf(byteCounts: readonly number[]): number {
  return byteCounts.reduce((sum, byteCount) => sum + byteCount, 0);
}

/** How many bytes an image needs, which is known later. Only the first answer counts. */
function createQuestion() {
  let answer: (byteCount: number) => void = () => undefined;
  const answered = new Promise<number>((resolve) => {
    answer = resolve;
  });
  return { answer, answered };
}
