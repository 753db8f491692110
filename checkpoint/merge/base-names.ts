import { CheckpointError } from '../errors.ts';
import { transformersName } from '../weights/original-names.ts';
import { unwrapNames } from '../weights/wrapper-names.ts';

/** PEFT's name of the model that it wraps. */
export const PEFT_PREFIX = 'base_model.model.';

/** Tensors of BLIP that are one in the model, and of which a file may have only one. */
const twins: readonly (readonly [name: RegExp, twin: string])[] = [
  [/^(.*)cls\.predictions\.decoder\.weight$/, '$1bert.embeddings.word_embeddings.weight'],
  [/^(.*)cls\.predictions\.decoder\.bias$/, '$1cls.predictions.bias'],
  [/^(.*)bert\.embeddings\.word_embeddings\.weight$/, '$1cls.predictions.decoder.weight'],
  [/^(.*)cls\.predictions\.bias$/, '$1cls.predictions.decoder.bias'],
];

/** Where the base has a tensor that an adapter changes. */
export interface BaseName {
  /** The name in the model. */
  readonly own: string;
  /** The name in the base's file: the twin's where only that one is there. */
  readonly found: string;
}

/**
 * How names of an adapter become names of tensors of its base. Besides PEFT's own prefix, adapters have others before
 * all names: those of wrappers, and none at all where only a part of the model was trained, such as its text decoder.
 * @param names of tensors of the base that the adapter changes, as the adapter has them.
 * @throws CheckpointError `CHECKPOINT_TENSOR_MISSING`, naming a tensor that the base lacks.
 */
export function baseNames(
  folder: string,
  names: readonly string[],
  base: ReadonlySet<string>,
): ReadonlyMap<string, BaseName> {
  const unwrap = unwrapNames(names);
  const ownName = (name: string) => transformersName(unwrap(name).replace(PEFT_PREFIX, ''));
  const prefix = missingPrefix(names.map(ownName), base);
  return new Map(
    names.map((name) => {
      const own = prefix + ownName(name);
      const found = [own, twinOf(own)].find((candidate) => base.has(candidate));
      if (found !== undefined) return [name, { own, found }];
      const message = `${folder}: expected tensors of the base, got ${name.slice(0, 120)}, which it has not.`;
      throw new CheckpointError('CHECKPOINT_TENSOR_MISSING', message);
    }),
  );
}

/** The name of the tensor that is tied to this one; the name itself where there is none. */
export function twinOf(name: string): string {
  const pair = twins.find(([pattern]) => pattern.test(name));
  return pair === undefined ? name : name.replace(...pair);
}

/** The only prefix with which the base has all names; empty where it has them without, or with more than one. */
function missingPrefix(names: readonly string[], base: ReadonlySet<string>): string {
  const hasAll = (prefix: string) => names.every((name) => base.has(prefix + name) || base.has(twinOf(prefix + name)));
  if (hasAll('')) return '';
  const [first = ''] = names;
  const prefixes = [...base].filter((name) => name.endsWith(`.${first}`)).map((name) => name.slice(0, -first.length));
  const fitting = prefixes.filter(hasAll);
  return fitting.length === 1 ? (fitting[0] ?? '') : '';
}
