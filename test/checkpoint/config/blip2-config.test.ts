import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { readBlip2Config } from '../../../checkpoint/config/blip2-config.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { publishedBlip2 } from '../../support/published-blip2.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const PATH = '/checkpoints/some/config.json';
const read = (values: object) => readBlip2Config({ path: PATH, values: { ...values } }, false);

/** A copy of a checkpoint whose `text_config` and generation_config.json have other values. */
function changed(name: 'blip2-opt' | 'blip2-t5', text: object, generation?: object): string {
  const folder = temporaryFolder();
  cpSync(checkpointFolder(name), folder, { recursive: true });
  const path = join(folder, 'config.json');
  const config = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, JSON.stringify({ ...config, text_config: { ...config.text_config, ...text } }));
  if (generation !== undefined) writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(generation));
  return folder;
}

describe('defaults', () => {
  test('are those of transformers where keys are missing', () => {
    expect(read({ text_config: {} })).toMatchObject({
      vision: { hiddenSize: 1408, layerCount: 39, imageSize: 224, patchSize: 14, layerNormEpsilon: 1e-6 },
      queryCount: 32,
      language: { kind: 'opt', vocabularySize: 50_272, maxPositions: 2048, endTokenIds: [2] },
    });
  });

  test('of T5: the exact activation wins over the name of the block', () => {
    const { language } = publishedBlip2['flan-t5-xl'];
    expect(language).toMatchObject({ activation: 'gelu', isGated: true, scalesOutput: false, startTokenId: 0 });
  });
});

describe('the end of a text', () => {
  test('is the one of text_config', () => {
    expect(publishedBlip2['opt-2.7b'].language.endTokenIds).toEqual([50_118]);
    expect(publishedBlip2['flan-t5-xl'].language.endTokenIds).toEqual([1]);
  });

  test("of Vicuna is LLaMA's own too, where text_config names the start", () => {
    expect(publishedBlip2['vicuna-7b'].language.endTokenIds).toEqual([1, 2]);
    const usual = read({ text_config: { model_type: 'llama', eos_token_id: 2 } });
    expect(usual.language.endTokenIds).toEqual([2]);
  });
});

describe('the rotary positions of LLaMA', () => {
  const llama = (values: object) => read({ text_config: { model_type: 'llama', ...values } }).language;

  test.each([
    ['nothing', {}, 10_000],
    ['rope_theta, as older files have it', { rope_theta: 500 }, 500],
    ['rope_parameters', { rope_parameters: { rope_theta: 250, rope_type: 'default' } }, 250],
    ['rope_parameters before rope_theta', { rope_theta: 500, rope_parameters: { rope_theta: 250 } }, 250],
    ['rope_theta where rope_parameters have none', { rope_theta: 500, rope_parameters: { rope_type: 'default' } }, 500],
    ['no scaling', { rope_theta: 500, rope_scaling: null }, 500],
    ['rope_scaling before rope_parameters', { rope_scaling: { rope_theta: 7 }, rope_parameters: { rope_theta: 9 } }, 7],
  ])('have the base of %s', (_, values, ropeTheta) => {
    expect(llama(values)).toMatchObject({ ropeTheta });
  });

  test.each([
    ['rope_scaling', { rope_scaling: { type: 'linear', factor: 2 } }, 'rope_scaling: expected type'],
    ['rope_parameters', { rope_parameters: { rope_type: 'llama3' } }, 'rope_parameters: expected rope_type'],
    ['a base of 0', { rope_theta: 0 }, 'expected rope_theta to be above 0, got 0'],
    ['heads that have no halves', { head_dim: 7 }, 'expected head_dim to be even, got 7'],
  ])('are refused with %s', (_, values, message) => {
    expectCheckpointError(() => llama(values), 'CHECKPOINT_CONFIG_INVALID', [PATH, 'text_config', message]);
  });
});

describe('notices', () => {
  const noticesOf = (folder: string) => openCheckpoint(folder).notices.join(' ');

  test('there are none about a checkpoint as it is published', () => {
    expect(noticesOf(checkpointFolder('blip2-opt'))).toBe('');
    expect(noticesOf(checkpointFolder('blip2-t5'))).toBe('');
  });

  test('name parameters that transformers does not read, and which have no effect here', () => {
    const folder = changed('blip2-opt', { num_beams: 4 }, { max_new_tokens: 50, do_sample: false });
    expect(noticesOf(folder)).toMatch(
      /config.json: text_config.*num_beams 4.*generation_config.json.*max_new_tokens 50/,
    );
    expect(openCheckpoint(folder)).toMatchObject({ generationDefaults: {} });
  });

  test('name special tokens that are others than those of text_config', () => {
    const folder = changed('blip2-t5', {}, { eos_token_id: 7, decoder_start_token_id: 5 });
    expect(noticesOf(folder)).toMatch(/eos_token_id 7 is without effect: 1 of.*decoder_start_token_id 5 is without/);
  });
});

describe('refused is', () => {
  test.each(['qwen2', 'gpt2', 7])('another language model: %s', (model_type) => {
    const parts = [PATH, 'text_config', 'model_type', 'opt, t5, llama'];
    expectCheckpointError(() => read({ text_config: { model_type } }), 'CHECKPOINT_CONFIG_INVALID', parts);
  });

  test('a quantization of others', () => {
    const folder = temporaryFolder();
    cpSync(checkpointFolder('blip2-opt'), folder, { recursive: true });
    const path = join(folder, 'config.json');
    const config = JSON.parse(readFileSync(path, 'utf8'));
    const quantization_config = { quant_method: 'bitsandbytes', load_in_8bit: true };
    writeFileSync(path, JSON.stringify({ ...config, quantization_config }));
    expectCheckpointError(() => openCheckpoint(folder), 'CHECKPOINT_CONFIG_INVALID', ['bitsandbytes']);
  });
});
