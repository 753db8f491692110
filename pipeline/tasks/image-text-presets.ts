import type { Blip2Config } from '../../checkpoint/config/blip2-config.ts';
import { imageTextPresets } from '../../checkpoint/config/generation-parameters.ts';
import { type GenerationLimits, type PresetSettings, usualSettings } from './generation-settings.ts';

/** The defaults of BLIP-2 and InstructBLIP that implementations disagree about. A request's own parameters come first. */

type ImageTextPreset = (typeof imageTextPresets)[number];

type Model = Pick<Blip2Config, 'language' | 'readsInstruction'>;

/** salesforce/LAVIS counts new tokens alone, as it passes embeddings to `generate`. */
const newTokens = (tokens: number) => ({ tokens, includesPrompt: false });

/** `predict_answers` of LAVIS: models/blip2_models/blip2_opt.py, blip2_t5.py, blip2_vicuna_instruct.py. */
function originalAnswers({ language }: Model): PresetSettings {
  const length_penalty = language.kind === 't5' ? -1 : 0;
  return { num_beams: 5, maxNewTokens: newTokens(10), minNewTokens: newTokens(1), length_penalty };
}

/** `generate` of LAVIS, in the same files. */
function originalTexts({ readsInstruction }: Model): PresetSettings {
  const shared = { num_beams: 5, minNewTokens: newTokens(1) };
  if (!readsInstruction) return { ...shared, maxNewTokens: newTokens(30) };
  return { ...shared, maxNewTokens: newTokens(256), repetition_penalty: 1.5 };
}

/** The generation parameters of a preset. `vqa` is about the words of a question alone. */
export function settingsOf(preset: ImageTextPreset, isQuestion: boolean, model: Model): PresetSettings {
  if (preset !== 'original-blip') return {};
  return isQuestion ? originalAnswers(model) : originalTexts(model);
}

/** The preset that a request names, or else the service's, whose values are lowered to what is possible. */
export interface ChosenPreset {
  readonly name: ImageTextPreset | undefined;
  readonly settingsFor: (isQuestion: boolean, model: Model) => PresetSettings;
}

/** @param hasContext a service's `hf` sends questions as they are, and gives way to a request that has earlier ones. */
export function presetFor(
  named: ImageTextPreset | undefined,
  hasContext: boolean,
  { preset: ofService, ...limits }: GenerationLimits & { readonly preset?: string | undefined },
): ChosenPreset {
  const usual = imageTextPresets.find((name) => name === ofService && !(name === 'hf' && hasContext));
  const name = named ?? usual;
  return {
    name,
    settingsFor(isQuestion, model) {
      const settings = settingsOf(name ?? (isQuestion ? 'vqa' : 'hf'), isQuestion, model);
      return named === undefined ? usualSettings(settings, limits) : settings;
    },
  };
}

/** An earlier question and its answer, as LAVIS' demonstration of a chat joins them: blip2_instructed_generation.ipynb. */
export function exchange(question: string, answer: string): string {
  return `Question: ${question} Answer: ${answer}.`;
}

/**
 * The prompt of a question. BLIP-2 has learned no questions, and continues "Question: … Answer:" with an answer; a question
 * alone it mostly repeats or leaves without a word. InstructBLIP has learned to follow what it is told.
 * @param earlier texts that stand before it.
 */
export function questionPrompt(
  question: string,
  preset: ImageTextPreset | undefined,
  earlier: readonly string[],
  { language, readsInstruction }: Model,
): string {
  if (preset === 'hf') return question;
  if (preset === undefined && readsInstruction && earlier.length === 0) return question;
  const answer = preset === 'original-blip' && language.kind === 't5' ? 'Short answer:' : 'Answer:';
  return [...earlier, `Question: ${question} ${answer}`].join(' ');
}
