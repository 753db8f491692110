import type { InputField } from '../../../protocol/schema.ts';

/**
 * The value that a text stands for, where all values are texts: forms and query strings. JSON is read as such, since
 * some clients quote their texts; for an input of text anything else is that text.
 * @param field of the input; `undefined` for one of text.
 * @returns `undefined` for `null`, which some clients send for what they leave out.
 */
export function valueOfText(text: string, field?: InputField): unknown {
  const value = parsed(text);
  if (value === null) return undefined;
  if (field === undefined || field.datatype === 'STRING') return typeof value === 'string' ? value : text;
  return value ?? text;
}

/** `undefined` where a text is not JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
