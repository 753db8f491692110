/**
 * How a session on the CPU holds the matrices of a checkpoint: docs/decisions/0036-weights-starts-and-workers.md.
 *
 * - `mapped`: as they lie in the file, which all workers and processes share.
 * - `packed`: copied into the order that products read them in.
 * - `packed-when-idle`: mapped at first; a worker packs them when it has nothing else to do.
 */
export const weightsLayouts = ['mapped', 'packed', 'packed-when-idle'] as const;

export type WeightsLayout = (typeof weightsLayouts)[number];

/** `auto` depends on the checkpoint, the goal, and how long the process lives. */
export const weightsChoices = ['auto', ...weightsLayouts] as const;

export type WeightsChoice = (typeof weightsChoices)[number];

/**
 * The layout in a process that lives for many requests.
 * @param hasGain whether packing is worth its memory: for int8, whose copy is small, and for throughput.
 */
export function chooseWeightsLayout(choice: WeightsChoice, hasGain: boolean): WeightsLayout {
  if (choice !== 'auto') return choice;
  return hasGain ? 'packed-when-idle' : 'mapped';
}

/** The choice of a process that answers one request: it packs at the start or never, because it is never idle. */
export function forOneRequest(choice: WeightsChoice): WeightsChoice {
  return choice === 'packed' ? 'packed' : 'mapped';
}
