import { expect, test } from 'vitest';
import type { PickleDict, PickleValue } from '../../../checkpoint/weights/pickle-value.ts';
import { findStateDict } from '../../../checkpoint/weights/state-dict.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const dict = (entries: readonly (readonly [string, PickleValue])[]): PickleDict => ({
  kind: 'dict',
  entries: new Map(entries),
});
const keys = Array.from({ length: 1000 }, (_, index) => `key${index}`);
/** Under a thousand keys of each level lies one dict: a pickle of some kilobytes makes billions of paths. */
const crowd = (leaf: PickleDict, levels: number): PickleDict =>
  levels === 0 ? leaf : crowd(dict(keys.map((key) => [key, leaf])), levels - 1);
const isTensor = (value: PickleValue) => value === 7;

test('a dict under very many keys is looked into once', () => {
  const search = () => findStateDict('a.bin', crowd(dict([['a', 1]]), 5), isTensor);
  const startMs = performance.now();
  expectCheckpointError(search, 'CHECKPOINT_WEIGHTS_INVALID', ['a.bin: expected one state dict', '"key0" (a dict']);
  expect(performance.now() - startMs).toBeLessThan(1000);
});

test('a model under two keys is one model', () => {
  const model = dict([['vision_model.a', 7]]);
  expect(
    findStateDict(
      'a.bin',
      dict([
        ['best', model],
        ['last', model],
      ]),
      isTensor,
    ),
  ).toBe(model);
  const other = dict([['vision_model.a', 7]]);
  const search = () =>
    findStateDict(
      'a.bin',
      dict([
        ['best', model],
        ['last', other],
      ]),
      isTensor,
    );
  expectCheckpointError(search, 'CHECKPOINT_WEIGHTS_INVALID', ['"best" (a dict of 1), "last" (a dict of 1)']);
});
