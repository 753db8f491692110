import type { blipPresets, PresetName } from '../../checkpoint/config/generation-parameters.ts';
import { type GenerationLimits, type PresetSettings, usualSettings } from './generation-settings.ts';

/** The defaults of one reference implementation, where they disagree. A request's own parameters come first. */
export interface Preset {
  readonly settings: PresetSettings;
  /** The question's first token: [CLS], which the original replaces by [ENC]. */
  readonly questionStart: '[CLS]' | '[ENC]';
}

type BlipPreset = (typeof blipPresets)[number];
type GenerationTaskName = 'captioning' | 'question-answering';

/** transformers' `generate`, with the checkpoint's own defaults. */
const hf: Preset = { settings: {}, questionStart: '[CLS]' };

/** bentoml/BentoBLIP, service.py: at least 20 and at most 100 new tokens. */
const bentoblip: Preset = {
  settings: {
    maxNewTokens: { tokens: 100, includesPrompt: false },
    minNewTokens: { tokens: 20, includesPrompt: false },
  },
  questionStart: '[CLS]',
};

/** salesforce/BLIP, models/blip.py and demo.ipynb: 3 beams, 5 to 20 tokens with the prompt. */
const originalCaptioning: Preset = {
  settings: {
    num_beams: 3,
    maxNewTokens: { tokens: 20, includesPrompt: true },
    minNewTokens: { tokens: 5, includesPrompt: true },
  },
  questionStart: '[CLS]',
};

/** salesforce/BLIP, models/blip_vqa.py: 3 beams, 1 to 10 tokens, questions that begin with [ENC]. */
const originalQuestionAnswering: Preset = {
  settings: {
    num_beams: 3,
    maxNewTokens: { tokens: 10, includesPrompt: true },
    minNewTokens: { tokens: 1, includesPrompt: true },
  },
  questionStart: '[ENC]',
};

export const presets: Readonly<Record<GenerationTaskName, Readonly<Record<BlipPreset, Preset>>>> = {
  captioning: { hf, bentoblip, 'original-blip': originalCaptioning },
  'question-answering': { hf, bentoblip, 'original-blip': originalQuestionAnswering },
};

/** The preset of a request: the one that it names, or else the service's, where the task has it. */
export function presetFor(
  task: GenerationTaskName,
  named: BlipPreset | undefined,
  { preset: usual, ...limits }: GenerationLimits & { readonly preset?: PresetName | undefined },
): Preset {
  const ofTask = presets[task];
  if (named !== undefined) return ofTask[named];
  const preset = Object.entries(ofTask).find(([name]) => name === usual)?.[1] ?? ofTask.hf;
  return { ...preset, settings: usualSettings(preset.settings, limits) };
}
