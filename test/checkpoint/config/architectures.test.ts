import { describe, expect, test } from 'vitest';
import { architectures, findArchitecture } from '../../../checkpoint/config/architectures.ts';
import { readBlipConfig } from '../../../checkpoint/config/blip-config.ts';
import { requireEqualWidths } from '../../../checkpoint/config/families.ts';
import { noTokenRules } from '../../../checkpoint/config/token-rules.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const PATH = '/checkpoints/some/config.json';

describe('the architecture', () => {
  test.each([
    ['another one', { architectures: ['LlamaForCausalLM'], model_type: 'llama' }, 'got LlamaForCausalLM'],
    ['several others', { architectures: ['BlipModel', 'ViTModel'] }, 'got BlipModel, ViTModel'],
    ['none, only a type', { model_type: 'blip-2' }, 'none (model_type "blip-2")'],
    ['an empty list', { architectures: [], model_type: 'blip' }, 'none (model_type "blip")'],
    ['text in place of a list', { architectures: 'BlipForConditionalGeneration', model_type: 'blip' }, 'none'],
  ])('%s is refused by name, with what is supported', (_, values, got) => {
    expectCheckpointError(() => findArchitecture({ path: PATH, values }), 'CHECKPOINT_ARCHITECTURE_UNSUPPORTED', [
      PATH,
      'BlipForConditionalGeneration',
      got,
    ]);
  });

  test('a supported one among others is found', () => {
    const values = { architectures: ['Other', 'BlipForConditionalGeneration'] };
    const found = findArchitecture({ path: PATH, values });
    expect(found).toBe('BlipForConditionalGeneration');
    expect(architectures[found].task).toBe('captioning');
  });
});

test('answers need text as wide as vision', () => {
  const settingsOf = (textWidth: number) => {
    const values = {
      text_config: { hidden_size: textWidth, num_attention_heads: 12 },
      vision_config: { hidden_size: 768, num_attention_heads: 12 },
    };
    return {
      config: readBlipConfig({ path: PATH, values }),
      generationDefaults: {},
      tokenRules: noTokenRules,
      notices: [],
    };
  };
  const file = { path: PATH, values: {} };
  expect(() => requireEqualWidths(settingsOf(768), file)).not.toThrow();
  expectCheckpointError(() => requireEqualWidths(settingsOf(384), file), 'CHECKPOINT_CONFIG_INVALID', [
    PATH,
    'to be equal in a BlipForQuestionAnswering, got 384 and 768',
  ]);
});
