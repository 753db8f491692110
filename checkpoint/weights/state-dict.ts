import { CheckpointError } from '../errors.ts';
import { describePickleValue, isKind, type PickleDict, type PickleValue } from './pickle-value.ts';

/** Names of the model in the dicts of training scripts, the likeliest first. Others are taken where they are alone. */
const MODEL_KEYS: readonly string[] = [
  'model',
  'state_dict',
  'model_state_dict',
  'model_state',
  'module',
  'net',
  'network',
  'weights',
  'params',
];
/** Dicts in dicts that are looked into. */
const MAX_DEPTH = 4;
const SHOWN_KEYS = 8;

/**
 * Finds the model's state dict in what `torch.save` stored: the dict itself, or the one that a training script put into a
 * dict beside optimizer, epoch and options, as in `{'model': …}`, `{'state_dict': …}` or
 * `{'checkpoint': {'model': …}}`.
 * @param isTensor whether a value stands for a tensor.
 * @throws CheckpointError `CHECKPOINT_WEIGHTS_INVALID`, naming what the file holds.
 */
export function findStateDict(path: string, value: PickleValue, isTensor: (value: PickleValue) => boolean): PickleDict {
  if (!isKind(value, 'dict')) throw invalid(path, `a state dict, got ${describePickleValue(value)}`);
  const found = search(value, isTensor, MAX_DEPTH);
  if (found !== undefined && (found === value || hasTensors(found, isTensor))) return found;
  throw invalid(path, `one state dict, got a dict of ${keyList(value)}; save model.state_dict() alone`);
}

/** Results by dict and by the depth that was left: a file may have one dict under very many keys. */
type Found = Map<PickleDict, Map<number, PickleDict | undefined>>;

function search(
  dict: PickleDict,
  isTensor: (value: PickleValue) => boolean,
  depth: number,
  done: Found = new Map(),
): PickleDict | undefined {
  const ofDict = done.get(dict) ?? new Map<number, PickleDict | undefined>();
  done.set(dict, ofDict);
  if (!ofDict.has(depth)) ofDict.set(depth, searchOnce(dict, isTensor, depth, done));
  return ofDict.get(depth);
}

function searchOnce(
  dict: PickleDict,
  isTensor: (value: PickleValue) => boolean,
  depth: number,
  done: Found,
): PickleDict | undefined {
  const inner = innerDicts(dict);
  const [model] = MODEL_KEYS.map((key) => inner.get(key)).filter((each) => each !== undefined);
  if (model !== undefined && depth > 0) return search(model, isTensor, depth - 1, done);
  if (inner.size === 0 || hasTensors(dict, isTensor)) return dict;
  if (depth === 0) return undefined;
  const others = [...inner].filter(([key]) => !/optim|sched|scaler/i.test(key)).map(([, each]) => each);
  const found = [...new Set(others)]
    .map((each) => search(each, isTensor, depth - 1, done))
    .filter((each) => each !== undefined && hasModules(each, isTensor));
  const different = new Set(found);
  return different.size === 1 ? found[0] : undefined;
}

function hasTensors({ entries }: PickleDict, isTensor: (value: PickleValue) => boolean): boolean {
  return [...entries.values()].some(isTensor);
}

/** Whether a dict has tensors of modules, such as `bert.pooler.weight`. */
function hasModules({ entries }: PickleDict, isTensor: (value: PickleValue) => boolean): boolean {
  return [...entries].some(([key, value]) => typeof key === 'string' && key.includes('.') && isTensor(value));
}

/** The dicts under keys of text. Those of an optimizer's states have numbers. */
function innerDicts({ entries }: PickleDict): ReadonlyMap<string, PickleDict> {
  const inner = new Map<string, PickleDict>();
  for (const [key, value] of entries) if (typeof key === 'string' && isKind(value, 'dict')) inner.set(key, value);
  return inner;
}

function keyList({ entries }: PickleDict): string {
  const shown = [...entries].slice(0, SHOWN_KEYS).map(([key, value]) => {
    return `${JSON.stringify(String(key).slice(0, 40))} (${describePickleValue(value)})`;
  });
  return `${shown.join(', ')}${entries.size > SHOWN_KEYS ? ', …' : ''}`;
}

function invalid(path: string, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${path}: expected ${expected}.`);
}
