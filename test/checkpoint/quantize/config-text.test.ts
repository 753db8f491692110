import { expect, test } from 'vitest';
import { withMember } from '../../../checkpoint/quantize/config-text.ts';

test.each([
  ['{"dtype": "float32", "x": 1.0}', '{"dtype": "float16", "x": 1.0}'],
  ['{"x": 1.0, "dtype":null}', '{"x": 1.0, "dtype": "float16"}'],
  ['{"inner": {"dtype": "float32"}, "list": ["dtype"],\n "dtype" : "a \\" b"\n}', undefined],
  ['{"inner": {"dtype": "float32"}}', '{\n  "dtype": "float16","inner": {"dtype": "float32"}}'],
  ['{"quoted\\"dtype": NaN, "d\\u0074ype": "x"}', '{"quoted\\"dtype": NaN, "d\\u0074ype": "float16"}'],
])('%s keeps everything else as it is written', (text, expected) => {
  const changed = withMember(text, 'dtype', 'float16');
  if (expected !== undefined) expect(changed).toBe(expected);
  const values = JSON.parse(changed.replace('NaN', '0')) as Record<string, unknown>;
  expect(values['dtype']).toBe('float16');
  expect({ ...values, dtype: undefined }).toEqual({
    ...(JSON.parse(text.replace('NaN', '0')) as object),
    dtype: undefined,
  });
});

test('a value may be an object', () => {
  const changed = withMember('{"quantization_config": null, "eps": 1e-05}', 'quantization_config', { version: 3 });
  expect(changed).toBe('{"quantization_config": {"version":3}, "eps": 1e-05}');
});
