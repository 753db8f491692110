import type { SharedSettings } from '../../pipeline/sessions/generation-settings.ts';

/** Greedy search with nothing else turned on. */
export const greedySettings: SharedSettings = {
  numBeams: 1,
  lengthPenalty: 1,
  earlyStopping: 'false',
  numReturnSequences: 1,
  repetitionPenalty: 1,
  noRepeatNgramSize: 0,
  doSample: false,
  temperature: 1,
  topK: 50,
  topP: 1,
};
