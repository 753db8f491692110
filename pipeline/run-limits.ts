import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { largestBatchSize } from './batch-size.ts';
import { MAX_TOKENS_PER_RUN } from './sessions/run-bounds.ts';
import { tokenCostOf } from './sessions/text-size.ts';
import type { Settings } from './settings.ts';

/** A text of a usual batch has at most so many new tokens. */
const USUAL_TOKENS_PER_TEXT = 64;

/** The bounds of the runs of a worker, and of their time. */
export interface RunLimits {
  readonly maxRunBytes?: number;
  readonly maxRunTokens?: number;
  readonly runLimitMs: number;
}

/** A larger language model has more time, as it also reads its weights from disk in its first run. */
export function runLimitsOf(settings: Settings, { config }: Pick<Checkpoint, 'config'>): RunLimits {
  const { maxRunBytes, runLimitMs } = settings;
  const tokenCost = 'language' in config ? tokenCostOf(config.language) : 1;
  return {
    ...(maxRunBytes === undefined ? {} : { maxRunBytes }),
    ...runTokensOf(settings, tokenCost * (USUAL_TOKENS_PER_TEXT + ('language' in config ? config.queryCount : 0))),
    runLimitMs: Math.ceil(runLimitMs * tokenCost),
  };
}

/** The texts of a usual batch are one run, however large an operator lets batches be. */
function runTokensOf({ maxBatchSize }: Settings, tokensPerText: number): Pick<RunLimits, 'maxRunTokens'> {
  const usualTokens = Math.ceil(largestBatchSize(maxBatchSize) * tokensPerText);
  return usualTokens > MAX_TOKENS_PER_RUN ? { maxRunTokens: usualTokens } : {};
}
