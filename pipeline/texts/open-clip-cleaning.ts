/**
 * Steps of ftfy 6.3 (`fix_text`) that open_clip takes before its tokenizer reads a text (open_clip/tokenizer.py,
 * `_clean_lower`), without the guesses: a text that was decoded wrongly stays as it is.
 */

/** Signs of two or three Latin letters. */
const ligatures: Readonly<Record<string, string>> = {
  Ĳ: 'IJ',
  ĳ: 'ij',
  ŉ: 'ʼn',
  Ǳ: 'DZ',
  ǲ: 'Dz',
  ǳ: 'dz',
  Ǆ: 'DŽ',
  ǅ: 'Dž',
  ǆ: 'dž',
  Ǉ: 'LJ',
  ǈ: 'Lj',
  ǉ: 'lj',
  Ǌ: 'NJ',
  ǋ: 'Nj',
  ǌ: 'nj',
  ﬀ: 'ff',
  ﬁ: 'fi',
  ﬂ: 'fl',
  ﬃ: 'ffi',
  ﬄ: 'ffl',
  ﬅ: 'ſt',
  ﬆ: 'st',
};
const ligature = new RegExp(`[${Object.keys(ligatures).join('')}]`, 'g');

/** The names of XML, and the one that editors write most. Others of HTML stay. */
const namedCharacters: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: '\u00a0',
};
const reference = /&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(amp|AMP|lt|LT|gt|GT|quot|QUOT|apos|nbsp));/g;
const LARGEST_CODE_POINT = 0x10ffff;
const UNKNOWN = '\ufffd';

/** Widths of ASCII and of katakana and hangul, and the space of their grid. */
const wide = /[\uff01-\uffef\u3000]/g;
const doubleQuote = /[\u201c-\u201f]/g;
const singleQuote = /[\u02bc\u2018-\u201b]/g;
const lineBreak = /\r\n|[\r\u2028\u2029\u0085]/g;
const loneSurrogate = /\p{Surrogate}/gu;
// Characters that steer terminals and layouts are meant here.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are removed.
const terminalEscape = /\u001b\[[\d;]*[a-zA-Z]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are removed.
const control = /[\u0000-\u0008\u000b\u000e-\u001f\u007f\u206a-\u206f\ufeff\ufff9-\ufffc]/g;

/**
 * The text that open_clip's tokenizer divides: entities of HTML decoded, ligatures and wide letters as plain ones, straight
 * quotes, no control characters, in lower case as Python makes it.
 */
export function cleanOpenClipText(text: string): string {
  const decoded = text.includes('<') ? text : decodeTwice(text);
  return decodeTwice(fixCharacters(decoded)).toLowerCase();
}

function fixCharacters(text: string): string {
  return text
    .replace(ligature, (sign) => ligatures[sign] ?? sign)
    .replace(wide, (sign) => (sign === '\u3000' ? ' ' : sign.normalize('NFKC')))
    .replace(doubleQuote, '"')
    .replace(singleQuote, "'")
    .replace(lineBreak, '\n')
    .replace(loneSurrogate, UNKNOWN)
    .replace(terminalEscape, '')
    .replace(control, '')
    .normalize('NFC');
}

/** ftfy decodes until nothing is left, which a hostile text would make it do for minutes. */
function decodeTwice(text: string): string {
  return decodeReferences(decodeReferences(text));
}

function decodeReferences(text: string): string {
  return text.replace(reference, (whole, decimal?: string, hexadecimal?: string, name = '') => {
    if (decimal === undefined && hexadecimal === undefined) return namedCharacters[name.toLowerCase()] ?? whole;
    const code = decimal === undefined ? Number.parseInt(hexadecimal ?? '', 16) : Number(decimal);
    const isCharacter = code > 0 && code <= LARGEST_CODE_POINT && !(code >= 0xd800 && code <= 0xdfff);
    return isCharacter ? String.fromCodePoint(code) : UNKNOWN;
  });
}
