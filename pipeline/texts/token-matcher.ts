import type { NumberedToken } from './definitions/added-tokens.ts';

/** A stretch of a text: an added token's id, or text that the model divides. */
export type Stretch = number | string;

interface Node {
  readonly next: Map<string, Node>;
  token?: NumberedToken;
}

/** Letters, marks, digits and connectors, as the regex crate's `\w` has them. */
const WORD = String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]`;
const endsWithWord = new RegExp(`${WORD}$`, 'u');
const startsWithWord = new RegExp(`^${WORD}`, 'u');

/** White space in Unicode's sense. JavaScript's own has a byte order mark more. */
const spaceBefore = /\p{White_Space}+$/u;
const spaceBehind = /^\p{White_Space}+/u;

/**
 * Finds added tokens in texts, as the tokenizers library does (tokenizers/src/tokenizer/added_vocabulary.rs,
 * `find_matches`): the leftmost, and of these the longest. @huggingface/tokenizers does the same without `single_word`.
 */
export class TokenMatcher {
  readonly #root: Node = { next: new Map() };

  constructor(tokens: readonly NumberedToken[]) {
    for (const token of tokens) {
      if (token.content === '') continue;
      let node = this.#root;
      for (const character of token.content.split('')) {
        const next = node.next.get(character) ?? { next: new Map() };
        node.next.set(character, next);
        node = next;
      }
      node.token = token;
    }
  }

  /** Divides a text at the added tokens in it. No stretch is empty. */
  divide(text: string): readonly Stretch[] {
    const stretches: Stretch[] = [];
    let done = 0;
    for (let start = 0; start < text.length; ) {
      const found = this.#longestAt(text, start);
      const end = found?.end ?? start + 1;
      if (found !== undefined && (!found.token.single_word || isSingleWord(text, start, end))) {
        const { id, lstrip, rstrip } = found.token;
        const before = text.slice(done, start);
        stretches.push(lstrip ? before.replace(spaceBefore, '') : before, id);
        done = rstrip ? end + (spaceBehind.exec(text.slice(end))?.[0].length ?? 0) : end;
      }
      start = end; // White space that a token took may begin the next one, as in the library.
    }
    return [...stretches, text.slice(done)].filter((stretch) => stretch !== '');
  }

  #longestAt(text: string, start: number): { readonly token: NumberedToken; readonly end: number } | undefined {
    let found: { readonly token: NumberedToken; readonly end: number } | undefined;
    let node: Node | undefined = this.#root;
    for (let end = start; node !== undefined; end += 1) {
      if (node.token !== undefined) found = { token: node.token, end };
      node = node.next.get(text.charAt(end));
    }
    return found;
  }
}

function isSingleWord(text: string, start: number, end: number): boolean {
  // Two code units are enough for any character.
  return (
    !endsWithWord.test(text.slice(Math.max(0, start - 2), start)) && !startsWithWord.test(text.slice(end, end + 2))
  );
}
