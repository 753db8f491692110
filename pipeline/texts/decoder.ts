import { isJsonObject, type JsonObject } from '../../checkpoint/files/json-file.ts';
import { libraryParts } from './library-parts.ts';

/** Makes texts of tokens. Several tokens may become one text. */
export type DecodeTokens = (tokens: readonly string[]) => readonly string[];

/**
 * A decoder as the tokenizers library has it. The JavaScript library's `Metaspace` looks at the first sign alone, its
 * `ByteFallback` makes other texts of bytes that are no UTF-8, and its `ByteLevel` loses what stands for no byte.
 * @param part the decoder's part of tokenizer.json.
 */
export function createDecoder(part: JsonObject): DecodeTokens {
  const { type, decoders } = part;
  if (type === 'Sequence' && Array.isArray(decoders)) {
    const steps = decoders.filter(isJsonObject).map(createDecoder);
    return (tokens) => steps.reduce((texts, step) => step(texts), tokens);
  }
  if (type === 'ByteLevel') return decodeByteLevel;
  if (type === 'ByteFallback') return decodeByteTokens;
  if (type === 'Metaspace') return metaspaceDecoder(part);
  const { decoder } = libraryParts({ decoder: part });
  return (tokens) => decoder?.decode_chain([...tokens]) ?? tokens;
}

const utf8 = new TextEncoder();
const lossy = new TextDecoder('utf-8', { ignoreBOM: true });
const strict = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });

/** GPT-2's alphabet: a visible character for each byte. */
const bytesOfLetters = alphabet();

function alphabet(): ReadonlyMap<string, number> {
  const isVisible = (byte: number) => /[!-~\u00a1-\u00ac\u00ae-\u00ff]/.test(String.fromCharCode(byte));
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const hidden = bytes.filter((byte) => !isVisible(byte));
  return new Map(bytes.map((byte) => [String.fromCharCode(isVisible(byte) ? byte : 256 + hidden.indexOf(byte)), byte]));
}

/** A token that is not of the alphabet is text already. */
const decodeByteLevel: DecodeTokens = (tokens) => {
  const bytes = tokens.flatMap((token) => {
    const ofToken = Array.from(token, (letter) => bytesOfLetters.get(letter));
    return ofToken.includes(undefined) ? [...utf8.encode(token)] : ofToken.map((byte) => byte ?? 0);
  });
  return [lossy.decode(Uint8Array.from(bytes))];
};

const byteToken = /^<0x([0-9a-f]{2})>$/i;

/** Bytes that are no UTF-8 become a sign each. */
const decodeByteTokens: DecodeTokens = (tokens) => {
  const texts: string[] = [];
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length > 0) texts.push(...textsOfBytes(bytes));
    bytes = [];
  };
  for (const token of tokens) {
    const byte = byteToken.exec(token)?.[1];
    if (byte !== undefined) bytes.push(Number.parseInt(byte, 16));
    else {
      flush();
      texts.push(token);
    }
  }
  flush();
  return texts;
};

function textsOfBytes(bytes: readonly number[]): readonly string[] {
  try {
    return [strict.decode(Uint8Array.from(bytes))];
  } catch {
    return bytes.map(() => '\ufffd');
  }
}

/** The first token loses the sign that was put before it. */
function metaspaceDecoder({ replacement, prepend_scheme, add_prefix_space }: JsonObject): DecodeTokens {
  const sign = typeof replacement === 'string' ? replacement : '▁';
  const keepsFirst = prepend_scheme === 'never' || add_prefix_space === false;
  return (tokens) => tokens.map((token, index) => token.replaceAll(sign, index === 0 && !keepsFirst ? '' : ' '));
}
