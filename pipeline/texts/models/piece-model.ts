/** The model of a tokenizer: how a stretch of text without added tokens becomes tokens. */
export interface PieceModel {
  /** The last id of each token. */
  readonly tokenIds: ReadonlyMap<string, number>;
  /** Tokens by their ids. Ids in between may have none. */
  readonly tokens: readonly (string | undefined)[];
  /** For what has no token. */
  readonly unknownId: number | undefined;
  /** The ids of a stretch of text that the pre-tokenizer left together. Without `unknownId`, unknown parts are left out. */
  readonly encode: (piece: string) => readonly number[];
}

/** Tokens of the model's bytes: `<0x00>` to `<0xFF>`. */
export function byteTokens(): readonly string[] {
  return Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
}

const utf8 = new TextEncoder();

/**
 * Ids of the bytes of a text in UTF-8 (`byte_fallback`).
 * @param byteIds by byte.
 * @returns `undefined` when a byte has no token.
 */
export function idsOfBytes(text: string, byteIds: readonly (number | undefined)[]): readonly number[] | undefined {
  const ids = Array.from(utf8.encode(text), (byte) => byteIds[byte]);
  const known = ids.filter((id) => id !== undefined);
  return known.length === ids.length ? known : undefined;
}
