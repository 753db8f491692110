/**
 * A value that a pickle describes. No class is looked up and no function is called: a call stays a description, which the
 * reader of the pickle may understand or refuse.
 */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickleTuple
  | PickleList
  | PickleDict
  | PickleGlobal
  | PickleCall
  | PickleObject
  | PickleReference;

export interface PickleTuple {
  readonly kind: 'tuple';
  readonly items: readonly PickleValue[];
}

export interface PickleList {
  readonly kind: 'list';
  readonly items: PickleValue[];
}

/** A dict or an OrderedDict. Both keep the order of their keys. */
export interface PickleDict {
  readonly kind: 'dict';
  readonly entries: Map<string | number, PickleValue>;
}

/** A class or function by its name. */
export interface PickleGlobal {
  readonly kind: 'global';
  readonly name: string;
}

/** A call that the pickle asks for, and that is not made. */
export interface PickleCall {
  readonly kind: 'call';
  readonly name: string;
  readonly arguments: readonly PickleValue[];
}

/** An object of plain data that is left out: only the name of its class is kept. */
export interface PickleObject {
  readonly kind: 'object';
  readonly name: string;
}

/** An object outside the pickle, by its persistent id. */
export interface PickleReference {
  readonly kind: 'reference';
  readonly id: PickleValue;
}

/** Whether a value is of a kind. Strings, numbers and the like have none. */
export function isKind<K extends Exclude<PickleValue, null | boolean | number | bigint | string>['kind']>(
  value: PickleValue,
  kind: K,
): value is Extract<PickleValue, { readonly kind: K }> {
  return value !== null && typeof value === 'object' && value.kind === kind;
}

/** A short description for messages: the value itself where that is short. */
export function describePickleValue(value: PickleValue): string {
  if (typeof value === 'string') return JSON.stringify(value).slice(0, 80);
  if (value === null || typeof value !== 'object') return String(value).slice(0, 80);
  switch (value.kind) {
    case 'tuple':
    case 'list':
      return `a ${value.kind} of ${value.items.length}`;
    case 'dict':
      return `a dict of ${value.entries.size}`;
    case 'global':
      return value.name;
    case 'call':
      return `a call of ${value.name}`;
    case 'object':
      return `a ${value.name}`;
    case 'reference':
      return 'a storage';
  }
}
