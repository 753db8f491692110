import { join } from 'node:path';
import { PbfReader } from 'pbf';
import { type AddedToken, specialToken } from './added-tokens.ts';
import { invalidTokenizer, readBinary } from './tokenizer-files.ts';

/** A model of SentencePiece (sentencepiece/src/sentencepiece_model.proto). */
export interface SentencePiece {
  readonly path: string;
  readonly pieces: readonly Piece[];
  /** The charsmap of its normalization, in base64; empty: it has none. */
  readonly charsmap: string;
}

export interface Piece {
  piece: string;
  score: number;
  /** `SentencePiece.Type`. */
  type: number;
}

/** The algorithms of models, by their numbers in the file (`TrainerSpec.ModelType`). */
const kinds = { Unigram: 1, BPE: 2 } as const;
const NORMAL = 1;
const CONTROL = 3;
const USER_DEFINED = 4;
const MAX_PIECES = 1 << 20;
const MAX_PIECE_CHARACTERS = 64;

/**
 * Reads a model of SentencePiece.
 * @param name of the file: spiece.model or tokenizer.model.
 * @returns `undefined` when there is no such file.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID` or `CHECKPOINT_FILE_UNREADABLE`.
 */
export function readSentencePiece(folder: string, name: string, kind: keyof typeof kinds): SentencePiece | undefined {
  const path = join(folder, name);
  const bytes = readBinary(folder, name, 'a model of SentencePiece');
  if (bytes === undefined) return undefined;
  const { pieces, modelType, charsmap } = parseModel(path, bytes);
  if (modelType !== kinds[kind])
    throw invalidTokenizer(path, `a model of ${kind} (model_type ${kinds[kind]}), got model_type ${modelType}`);
  const longest = pieces.reduce((length, { piece }) => Math.max(length, piece.length), 0);
  if (pieces.length === 0 || longest > MAX_PIECE_CHARACTERS)
    throw invalidTokenizer(
      path,
      `pieces of at most ${MAX_PIECE_CHARACTERS} characters, got ${pieces.length} of at most ${longest}`,
    );
  return { path, pieces, charsmap: charsmap.toString('base64') };
}

/** Tokens that stand for themselves wherever a text has them. Those that control the model are special. */
export function ownTokens({ pieces }: SentencePiece): readonly AddedToken[] {
  const own = pieces.filter(({ type }) => type === CONTROL || type === USER_DEFINED);
  return own.map(({ piece, type }) => ({ ...specialToken(piece), special: type === CONTROL }));
}

interface Model {
  readonly pieces: Piece[];
  charsmap: Buffer;
  modelType: number;
  /** Both come behind all pieces. A file without them was cut off. */
  hasTrainer: boolean;
  hasNormalizer: boolean;
}

function parseModel(path: string, bytes: Buffer): Model {
  const model = { pieces: [], charsmap: Buffer.alloc(0), modelType: 1, hasTrainer: false, hasNormalizer: false };
  const reader = new PbfReader(bytes);
  const read = () => {
    reader.readFields<Model>(readModelField, model);
    return reader.pos === bytes.length && model.hasTrainer && model.hasNormalizer;
  };
  const isWhole = ignoringErrors(read);
  if (isWhole === true) return model;
  throw invalidTokenizer(
    path,
    `a whole model of SentencePiece with at most ${MAX_PIECES} pieces, got another file, or one that was cut off. Download it again`,
  );
}

/** The reader throws errors of several kinds where bytes are none of a message. */
function ignoringErrors<Result>(read: () => Result): Result | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function readModelField(tag: number, model: Model, reader: PbfReader): void {
  if (tag === 1) {
    if (model.pieces.length > MAX_PIECES) throw new RangeError('too many pieces');
    model.pieces.push(readMessage(reader, readPieceField, { piece: '', score: 0, type: NORMAL }));
  } else if (tag === 2) {
    model.hasTrainer = true;
    readMessage(reader, readTrainerField, model);
  } else if (tag === 3) {
    model.hasNormalizer = true;
    readMessage(reader, readNormalizerField, model);
  }
}

/** @throws RangeError when the message does not end where its length says. */
function readMessage<Message>(
  reader: PbfReader,
  readField: (tag: number, message: Message, reader: PbfReader) => void,
  message: Message,
): Message {
  const length = reader.readVarint();
  const end = reader.pos + length;
  if (!(end <= reader.length)) throw new RangeError('a message beyond the end');
  reader.readFields(readField, message, end);
  if (reader.pos !== end) throw new RangeError('a field beyond the end of its message');
  return message;
}

function readPieceField(tag: number, piece: Piece, reader: PbfReader): void {
  if (tag === 1) piece.piece = reader.readString();
  else if (tag === 2) piece.score = reader.readFloat();
  else if (tag === 3) piece.type = reader.readVarint();
}

function readTrainerField(tag: number, model: Model, reader: PbfReader): void {
  if (tag === 3) model.modelType = reader.readVarint();
}

function readNormalizerField(tag: number, model: Model, reader: PbfReader): void {
  if (tag === 2) model.charsmap = Buffer.from(reader.readBytes());
}
