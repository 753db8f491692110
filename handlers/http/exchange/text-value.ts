import type { InputField } from '../../../protocol/schema.ts';
import { requireFewValues } from '../../../protocol/value-count.ts';

/**
 * The value of a text from a form or a query string, where all values are texts. JSON is parsed, because some clients
 * quote their texts. For an input of text, everything that is not a JSON string is the text itself.
 * @param field of the input; `undefined` for an input of text.
 * @returns `undefined` for `null`, which some clients send for values that they leave out.
 */
export function valueOfText(text: string, field?: InputField): unknown {
  const value = parseJson(text);
  if (value === null) return undefined;
  if (field === undefined || field.datatype === 'STRING') return typeof value === 'string' ? value : text;
  return value ?? text;
}

/** The value of a JSON text; `undefined` for any other text. @throws HandlerError `INVALID_REQUEST` for too many values. */
function parseJson(text: string): unknown {
  if (!/^\s*["[{\dtfn-]/.test(text)) return undefined; // No JSON begins so.
  if (/^\s*[[{]/.test(text)) requireFewValues(text);
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
