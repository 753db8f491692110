import { describe, expect, test } from 'vitest';
import { readImageProcessorConfig } from '../../../checkpoint/config/image-processor-config.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const PATH = '/checkpoints/some/preprocessor_config.json';
const IMAGE_SIZE = 384;

function read(values: Readonly<Record<string, unknown>>) {
  return readImageProcessorConfig({ path: PATH, values }, IMAGE_SIZE, 'squash');
}

function expectInvalid(values: Readonly<Record<string, unknown>>, parts: readonly string[]) {
  return expectCheckpointError(() => read(values), 'CHECKPOINT_CONFIG_INVALID', [PATH, 'expected', ...parts]);
}

const usual = {
  resize: { kind: 'squash', side: 384 },
  rescaleFactor: 1 / 255,
  normalize: {
    mean: [0.48145466, 0.4578275, 0.40821073],
    standardDeviation: [0.26862954, 0.26130258, 0.27577711],
  },
};

describe('defaults', () => {
  test('a missing file has the defaults of transformers, at the size of the vision model', () => {
    expect(readImageProcessorConfig(undefined, 384, 'squash')).toEqual(usual);
    expect(readImageProcessorConfig(undefined, 32, 'squash').resize).toEqual({ kind: 'squash', side: 32 });
  });

  test('an empty file has the same defaults', () => {
    expect(read({})).toEqual(usual);
  });

  test('null and unknown keys count as missing', () => {
    const nulls = {
      do_resize: null,
      size: null,
      resample: null,
      rescale_factor: null,
      image_mean: null,
      image_std: null,
    };
    expect(read({ ...nulls, do_convert_rgb: 'x', image_processor_type: 7, do_pad: true })).toEqual(usual);
  });
});

describe('the size', () => {
  test.each([
    ['a number', 384],
    ['height and width', { height: 384, width: 384 }],
  ])('may be %s', (_, size) => {
    expect(read({ size }).resize).toEqual({ kind: 'squash', side: 384 });
  });

  test.each([
    ['as a number', 224, '224 x 224'],
    ['in height', { height: 224, width: 384 }, '224 x 384'],
    ['in width', { height: 384, width: 224 }, '384 x 224'],
  ])('is refused where it differs %s from the vision model', (_, size, got) => {
    expectInvalid({ size }, ['384 x 384', 'image_size', `got ${got}`]);
  });

  test.each([
    ['text', '384', 'got "384"'],
    ['a list', [384, 384], 'got a list of 2'],
    ['negative', -384, 'got -384'],
    ['a height that is text', { height: '384', width: 384 }, 'got "384"'],
  ])('is refused where it is %s', (_, size, got) => {
    expectInvalid({ size }, [got]);
  });

  test('is refused as a shortest edge where nothing is cropped', () => {
    expectInvalid({ size: { shortest_edge: 384 } }, ['do_center_crop with a shortest_edge', 'got none']);
  });

  test('is refused without a height, which is said to be missing', () => {
    const error = expectInvalid({ size: { width: 384 } }, ['size', 'height']);
    expect(error.message).toContain('got nothing');
  });
});

describe('cropping, as CLIP does', () => {
  const readCrop = (values: Readonly<Record<string, unknown>>) =>
    readImageProcessorConfig({ path: PATH, values }, 224, 'crop').resize;
  const crop = { kind: 'crop', shortestEdge: 224, side: 224 };

  test.each([
    ['an empty file', {}],
    ['numbers, as older files have them', { size: 224, crop_size: 224 }],
    ['objects', { size: { shortest_edge: 224 }, crop_size: { height: 224, width: 224 } }],
  ])('is what %s means', (_, values) => {
    expect(readCrop(values)).toEqual(crop);
  });

  test('from a larger picture', () => {
    expect(readCrop({ size: { shortest_edge: 256 } })).toEqual({ ...crop, shortestEdge: 256 });
  });

  test('is left out where the file says so', () => {
    expect(readCrop({ do_center_crop: false, size: { height: 224, width: 224 } })).toEqual({
      kind: 'squash',
      side: 224,
    });
  });

  test.each([
    ['a smaller edge than the crop', { size: { shortest_edge: 192 } }, 'at least crop_size 224'],
    ['a crop of another size', { crop_size: 192 }, '224 x 224'],
    ['an oblong crop', { crop_size: { height: 224, width: 192 } }, 'got 224 x 192'],
  ])('%s is refused', (_, values, part) => {
    expectCheckpointError(() => readCrop(values), 'CHECKPOINT_CONFIG_INVALID', [PATH, part]);
  });
});

describe('resampling', () => {
  test('bicubic is taken', () => {
    expect(read({ resample: 3 })).toEqual(usual);
  });

  test.each([0, 1, 2, 4, 5])('%d is refused, and bicubic named', (resample) => {
    expectInvalid({ resample }, ['resample 3 (bicubic)', `got ${resample}`]);
  });

  test('does not matter where nothing is resized', () => {
    expect(read({ do_resize: false, resample: 2, size: 224 }).resize).toBeUndefined();
  });
});

describe('steps that are switched off', () => {
  test.each([
    ['do_resize', { ...usual, resize: undefined }],
    ['do_rescale', { ...usual, rescaleFactor: undefined }],
    ['do_normalize', { ...usual, normalize: undefined }],
  ])('%s false leaves its step out, and only that', (key, expected) => {
    expect(read({ [key]: false })).toEqual(expected);
  });

  test.each(['do_resize', 'do_rescale', 'do_normalize'])('%s must be true or false', (key) => {
    expectInvalid({ [key]: 0 }, [`${key} to be true or false`, 'got 0']);
  });
});

describe('numbers', () => {
  test('means, deviations and factor of the file are taken', () => {
    const values = { image_mean: [0.1, 0.2, 0.3], image_std: [1, 2, 3], rescale_factor: 0.5 };
    expect(read(values)).toEqual({
      ...usual,
      rescaleFactor: 0.5,
      normalize: { mean: [0.1, 0.2, 0.3], standardDeviation: [1, 2, 3] },
    });
  });

  test.each([
    ['two numbers', [0.5, 0.5], 'a list of 2'],
    ['one number', 0.5, '0.5'],
  ])('a mean of %s is refused', (_, mean, got) => {
    expectInvalid({ image_mean: mean }, ['image_mean to be three numbers', `got ${got}`]);
  });

  test.each([
    ['text', ['0.5', 0.5, 0.5]],
    ['null', [null, 0.5, 0.5]],
  ])('a deviation with %s in it is refused', (_, deviation) => {
    expectInvalid({ image_std: deviation }, ['image_std to be three numbers']);
  });

  test('an image_std of 0 is refused, by which colours would be divided', () => {
    expectInvalid({ image_std: [0.5, 0, 0.5] }, ['image_std to have no 0, got 0.5, 0, 0.5.']);
  });

  test('a factor that is text is refused', () => {
    expectInvalid({ rescale_factor: '1/255' }, ['rescale_factor to be a number', 'got "1/255"']);
  });
});
