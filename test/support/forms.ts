import type { GraphForm } from '../../models/module.ts';

export const forms: readonly GraphForm[] = ['plain', 'lean'];

/** Each name with each form that graphs are written in. */
export function inEachForm<Name extends string>(names: readonly Name[]): readonly (readonly [Name, GraphForm])[] {
  return names.flatMap((name) => forms.map((form) => [name, form] as const));
}
