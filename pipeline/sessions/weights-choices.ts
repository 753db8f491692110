/**
 * How a session on the CPU holds the matrices of a checkpoint: docs/decisions/0036-weights-starts-and-workers.md.
 *
 * - `mapped`: as they lie in the file, which all workers and processes share.
 * - `packed`: copied into the order that products read them in.
 * - `packed-when-idle`: mapped at first; a worker packs them when it has nothing else to do.
 */
export const weightsLayouts = ['mapped', 'packed', 'packed-when-idle'] as const;

export type WeightsLayout = (typeof weightsLayouts)[number];

/** `auto` depends on the checkpoint, and on how long the process lives. */
export const weightsChoices = ['auto', ...weightsLayouts] as const;

export type WeightsChoice = (typeof weightsChoices)[number];

/** The form that `auto` stands for in a process that lives for many requests. */
export function chooseWeightsLayout(choice: WeightsChoice, isInt8: boolean): WeightsLayout {
  if (choice !== 'auto') return choice;
  return isInt8 ? 'packed-when-idle' : 'mapped';
}

/** The choice of a process that answers one request: packing would take longer than it saves. */
export function forOneRequest(choice: WeightsChoice): WeightsChoice {
  return choice === 'auto' ? 'mapped' : choice;
}
