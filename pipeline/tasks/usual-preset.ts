import type { PresetName } from '../../checkpoint/config/generation-parameters.ts';
import type { TaskSchema } from '../../protocol/schema.ts';

/** The preset of requests that name none. One setting is for all models of a service, and not every task has it. */
export interface UsualPreset {
  readonly preset: PresetName | undefined;
  /** Says that the setting has no effect. */
  readonly notice: string | undefined;
}

export function usualPreset({ inputs }: TaskSchema, preset: PresetName | undefined): UsualPreset {
  const allowed = inputs['preset']?.allowed ?? [];
  if (preset === undefined || allowed.includes(preset)) return { preset, notice: undefined };
  const having = allowed.length === 0 ? 'models of this task have no presets' : `this model has ${allowed.join(', ')}`;
  return { preset: undefined, notice: `BLIP_PRESET=${preset} has no effect: ${having}.` };
}
