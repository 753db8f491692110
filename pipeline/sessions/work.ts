import type {
  Blip2Checkpoint,
  Blip2RetrievalCheckpoint,
  BlipCheckpoint,
  ClipCheckpoint,
} from '../../checkpoint/checkpoint.ts';
import type { Task } from '../../checkpoint/config/architectures.ts';
import type { ClipBatch, ClipResult } from './clip-batch.ts';
import type { GenerationBatch, GenerationResult } from './generation-batch.ts';
import type { RankingBatch, RankingResult } from './ranking-batch.ts';
import type { RetrievalBatch, RetrievalResult } from './retrieval-batch.ts';

/** The batches and results that cross between threads, by kind. Types only: the main thread must load no runtime. */

interface BatchOfKind {
  readonly generation: GenerationBatch;
  readonly ranking: RankingBatch;
  readonly retrieval: RetrievalBatch;
  readonly clip: ClipBatch;
}

interface ResultOfKind {
  readonly generation: GenerationResult;
  readonly ranking: RankingResult;
  readonly retrieval: RetrievalResult;
  readonly clip: ClipResult;
}

export type WorkKind = keyof BatchOfKind;
export type BatchOf<Kind extends WorkKind> = BatchOfKind[Kind];
export type ResultOf<Kind extends WorkKind> = ResultOfKind[Kind];

/** The checkpoint of each task, and the kinds of batches that its workers compute. */
interface TypesOfTask {
  readonly captioning: { readonly checkpoint: BlipCheckpoint; readonly kinds: 'generation' };
  readonly 'question-answering': { readonly checkpoint: BlipCheckpoint; readonly kinds: 'generation' | 'ranking' };
  readonly 'image-text-to-text': { readonly checkpoint: Blip2Checkpoint; readonly kinds: 'generation' };
  readonly retrieval: { readonly checkpoint: BlipCheckpoint | Blip2RetrievalCheckpoint; readonly kinds: 'retrieval' };
  readonly clip: { readonly checkpoint: ClipCheckpoint; readonly kinds: 'clip' };
}

export type CheckpointOf<Name extends Task> = TypesOfTask[Name]['checkpoint'];
export type KindsOf<Name extends Task> = TypesOfTask[Name]['kinds'];

/** A batch with the name of its kind. */
export interface WorkBatch<Kind extends WorkKind = WorkKind> {
  readonly kind: Kind;
  readonly batch: BatchOf<Kind>;
}

/** A result with the name of its kind. */
export interface WorkResult<Kind extends WorkKind = WorkKind> {
  readonly kind: Kind;
  readonly result: ResultOf<Kind>;
}
