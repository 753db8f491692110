import { HandlerError } from '../../protocol/errors.ts';
import type { InputFields } from '../../protocol/schema.ts';

/**
 * Names that LAVIS has for parameters of generation, and whose meaning is certain.
 * Source: salesforce/LAVIS, lavis/models/blip_models/blip_caption.py, `generate`.
 */

/** The parameters that a value of another name stands for. Those that LAVIS only sets by default give way to the request. */
interface OtherName {
  readonly means: (value: unknown) => Readonly<Record<string, unknown>>;
  readonly defaults?: (value: unknown) => Readonly<Record<string, unknown>>;
}

const otherNames: Readonly<Record<string, OtherName>> = {
  num_captions: { means: (value) => ({ num_return_sequences: value }) },
  use_nucleus_sampling: {
    means: (value) => ({ do_sample: value }),
    defaults: (value): Readonly<Record<string, unknown>> => (value === true ? { top_p: 0.9 } : {}),
  },
};

/**
 * Inputs under the names of their fields.
 * @throws HandlerError `INVALID_PARAMETER` where a request has a parameter under both names.
 */
export function underOwnNames(inputs: unknown, fields: InputFields): unknown {
  if (typeof inputs !== 'object' || inputs === null) return inputs;
  const entries = Object.entries(inputs).filter(([, value]) => value !== undefined && value !== null);
  if (!entries.some(([name]) => isOtherName(name, fields))) return inputs;
  const own = Object.fromEntries(entries.filter(([name]) => !isOtherName(name, fields)));
  const meant = entries.filter(([name]) => isOtherName(name, fields)).map((entry) => meaningOf(entry, own));
  return Object.assign({}, ...meant.map(({ defaults }) => defaults), own, ...meant.map(({ parameters }) => parameters));
}

function isOtherName(name: string, fields: InputFields): boolean {
  return Object.hasOwn(otherNames, name) && !Object.hasOwn(fields, name) && Object.hasOwn(fields, 'do_sample');
}

function meaningOf(
  [name, content]: readonly [string, unknown],
  own: Readonly<Record<string, unknown>>,
): { readonly parameters: object; readonly defaults: object } {
  const value = Array.isArray(content) && content.length === 1 ? content[0] : content;
  const parameters = otherNames[name]?.means(value) ?? {};
  const twice = Object.keys(parameters).find((each) => Object.hasOwn(own, each));
  if (twice !== undefined)
    throw new HandlerError('INVALID_PARAMETER', `Expected ${twice} or ${name}, which mean the same, got both.`);
  return { parameters, defaults: otherNames[name]?.defaults?.(value) ?? {} };
}
