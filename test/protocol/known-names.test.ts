import { expect, test } from 'vitest';
import { schemas } from '../../input_schema.ts';
import { suggestion } from '../../protocol/known-names.ts';

const captioning = Object.keys(schemas.captioning.inputs);
const answering = Object.keys(schemas['question-answering'].inputs);

test.each([
  ['num_beam', 'num_beams'],
  ['nums_beams', 'num_beams'],
  ['num_baems', 'num_beams'],
  ['numBeams', 'num_beams'],
  ['num-beams', 'num_beams'],
  ['NUM_BEAMS', 'num_beams'],
  ['beam_size', 'num_beams'],
  ['use_beam_search', 'num_beams'],
  ['max_new_token', 'max_new_tokens'],
  ['maxNewTokens', 'max_new_tokens'],
  ['max_tokens', 'max_new_tokens'],
  ['maxlength', 'max_length'],
  ['temprature', 'temperature'],
  ['tempreature', 'temperature'],
  ['topk', 'top_k'],
  ['nucleus_top_p', undefined],
  ['repeat_penalty', 'repetition_penalty'],
  ['num_captions', 'num_return_sequences'],
  ['image', 'img_url'],
  ['image_url', 'img_url'],
  ['img_ulr', 'img_url'],
  ['prompt', 'text'],
  ['caption', 'text'],
  ['seeds', 'seed'],
  ['sed', 'seed'],
  ['x', undefined],
  ['', undefined],
  ['colour', undefined],
  ['toString', undefined],
  ['__proto__', undefined],
  ['constructor', undefined],
  ['num_beams'.repeat(1000), undefined],
])('%j among the inputs of captioning', (name, meant) => {
  expect(suggestion(name, captioning)).toBe(meant === undefined ? '.' : `: did you mean ${meant}?`);
});

test('a text is a question to a model that answers some', () => {
  for (const name of ['prompt', 'text', 'query', 'questions'])
    expect(suggestion(name, answering)).toBe(': did you mean question?');
});
