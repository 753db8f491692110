const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });

/** Each step of a segmenter takes a time that grows with its text: 262,144 letters at once would take minutes. */
const WINDOW_CHARACTERS = 128;

/**
 * The graphemes of a text: characters with the marks, joiners and signs that belong to them. What is one does not depend
 * on those before, so that the text is read in windows. The last of a window may go on behind it.
 */
export function* graphemesOf(text: string): Generator<string> {
  let width = WINDOW_CHARACTERS;
  for (let start = 0; start < text.length; ) {
    const end = wholeCharacter(text, start + width);
    const found = Array.from(segmenter.segment(text.slice(start, end)), ({ segment }) => segment);
    const whole = end >= text.length ? found : found.slice(0, -1);
    yield* whole;
    start += whole.reduce((length, { length: more }) => length + more, 0);
    width = whole.length === 0 ? width * 2 : WINDOW_CHARACTERS;
  }
}

/** Half a character belongs to no grapheme, so that the one before would end too early. */
function wholeCharacter(text: string, end: number): number {
  const unit = text.charCodeAt(end);
  return unit >= 0xdc00 && unit <= 0xdfff ? end + 1 : end;
}
