import type { SharedSettings } from '../../pipeline/sessions/generation-batch.ts';
import { resolveGenerationSettings } from '../../pipeline/tasks/generation-settings.ts';

/** Greedy search with nothing else turned on. */
export const greedySettings: SharedSettings = resolveGenerationSettings({}, {}).shared;
