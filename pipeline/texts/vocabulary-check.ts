import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { ClipTextConfig } from '../../checkpoint/config/clip-config.ts';
import type { LanguageModelConfig } from '../../checkpoint/config/language-model-config.ts';
import type { QFormerConfig } from '../../checkpoint/config/qformer-config.ts';
import { invalidTokenizer } from './definitions/tokenizer-files.ts';
import type { CheckpointTokenizer } from './tokenizer.ts';

/**
 * Compares a tokenizer with the model that reads its ids.
 * @returns lines for the log: where they differ, but may still be meant so.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID` when no text would have the ids that the model learned.
 */
export function checkVocabulary(
  tokenizer: CheckpointTokenizer,
  model: TextConfig | ClipTextConfig | LanguageModelConfig | QFormerConfig,
): readonly string[] {
  const { path, idCount } = tokenizer;
  const { vocabularySize } = model;
  const frame = tokenizer.encode('');
  const beyond = frame.find((id) => id >= vocabularySize);
  if (beyond !== undefined)
    throw invalidTokenizer(
      path,
      `tokens around a text below vocab_size ${vocabularySize} of config.json, got ${beyond}`,
    );
  // A language model has more rows of embeddings than tokens, and a token for images that is never looked up.
  if (!('pooling' in model) && !('sepTokenId' in model)) return checkBeginning(path, frame);
  const missing = countMissing(tokenizer, model);
  const notices = 'pooling' in model ? checkClipEnd(path, frame, model) : checkBlipEnd(path, frame, model);
  return [
    ...notices,
    ...(missing === 0
      ? []
      : [
          `${path}: ${missing} of the model's ${vocabularySize} tokens are missing. Answers show U+FFFD in their place.`,
        ]),
    ...(idCount <= vocabularySize
      ? []
      : [`${path}: has ${idCount} tokens, and the model ${vocabularySize}. Texts with the others are refused.`]),
  ];
}

/** Some files lose the template that puts OPT's or LLaMA's first token before a text, or T5's last one behind it. */
function checkBeginning(path: string, frame: readonly number[]): readonly string[] {
  if (frame.length > 0) return [];
  return [
    `${path}: puts no special token around texts, and language models learned texts with one. Answers may be worse.`,
  ];
}

/** Published BLIP tokenizers lack [DEC] and [ENC], which the model adds to texts itself. */
function countMissing(tokenizer: CheckpointTokenizer, model: TextConfig | ClipTextConfig): number {
  const own = 'pooling' in model ? [] : [model.bosTokenId, model.bosTokenId + 1];
  const isMissing = (id: number) => !tokenizer.has(id);
  // config.json may say any size: only ids below the tokenizer's are looked at one by one.
  const end = Math.min(model.vocabularySize, tokenizer.idCount);
  let count = model.vocabularySize - end;
  for (let id = 0; id < end; id += 1) if (isMissing(id)) count += 1;
  return count - own.filter((id) => id < model.vocabularySize && isMissing(id)).length;
}

function checkBlipEnd(path: string, frame: readonly number[], { sepTokenId }: TextConfig): readonly string[] {
  const end = frame.at(-1);
  if (end === sepTokenId) return [];
  return [`${path}: texts end with token ${end}, and answers with sep_token_id ${sepTokenId} of config.json.`];
}

/** A text whose end is not found would have the embedding of its first token, which all texts share. */
function checkClipEnd(path: string, frame: readonly number[], { pooling }: ClipTextConfig): readonly string[] {
  if (pooling === 'largest-id' || frame.includes(pooling.eosTokenId)) return [];
  throw invalidTokenizer(
    path,
    `texts to end with eos_token_id ${pooling.eosTokenId} of config.json, got ${frame.at(-1) ?? 'no token'}`,
  );
}
