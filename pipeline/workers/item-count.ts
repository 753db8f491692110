import type { BatchOf, WorkKind } from '../sessions/work.ts';

const itemCounts: { readonly [Kind in WorkKind]: (batch: BatchOf<Kind>) => number } = {
  generation: ({ rows }) => rows.length,
  ranking: ({ rows }) => rows.length,
  retrieval: encodedItems,
  clip: encodedItems,
};

/** How many items a batch has: texts to generate or to rank, or images and texts to encode. */
export function itemCountOf<Kind extends WorkKind>(kind: Kind, batch: BatchOf<Kind>): number {
  return itemCounts[kind](batch);
}

function encodedItems({ images, texts }: BatchOf<'retrieval' | 'clip'>): number {
  return images.length + texts.length;
}
