import type { GenerationSettings } from '../sessions/generation-settings.ts';

/** Where references disagree: whose ways to follow. What a request sets itself comes before its preset. */
export interface Preset {
  readonly settings: Partial<Pick<GenerationSettings, 'maxNewTokens' | 'minNewTokens' | 'numBeams'>>;
  /** The question's first token: [CLS], or [ENC], which the original replaces it by. */
  readonly questionStart: '[CLS]' | '[ENC]';
}

type PresetName = 'hf' | 'bentoblip' | 'original-blip';
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
    numBeams: 3,
    maxNewTokens: { tokens: 20, includesPrompt: true },
    minNewTokens: { tokens: 5, includesPrompt: true },
  },
  questionStart: '[CLS]',
};

/** salesforce/BLIP, models/blip_vqa.py: 3 beams, 1 to 10 tokens, questions that begin with [ENC]. */
const originalQuestionAnswering: Preset = {
  settings: {
    numBeams: 3,
    maxNewTokens: { tokens: 10, includesPrompt: true },
    minNewTokens: { tokens: 1, includesPrompt: true },
  },
  questionStart: '[ENC]',
};

export const presets: Readonly<Record<GenerationTaskName, Readonly<Record<PresetName, Preset>>>> = {
  captioning: { hf, bentoblip, 'original-blip': originalCaptioning },
  'question-answering': { hf, bentoblip, 'original-blip': originalQuestionAnswering },
};
