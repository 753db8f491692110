import { CheckpointError } from '../errors.ts';
import type { JsonSection } from '../files/json-file.ts';

/** What a checkpoint of each architecture does, by the names in `architectures` of its config.json. */
const taskOfArchitecture = {
  BlipForConditionalGeneration: 'captioning',
  BlipForQuestionAnswering: 'question-answering',
  BlipForImageTextRetrieval: 'retrieval',
  CLIPModel: 'clip',
} as const;

export type Architecture = keyof typeof taskOfArchitecture;
export type Task = (typeof taskOfArchitecture)[Architecture];

export const tasks: readonly Task[] = Object.values(taskOfArchitecture);

/**
 * Reads `architectures` of a config.json.
 * @throws CheckpointError `CHECKPOINT_ARCHITECTURE_UNSUPPORTED`, naming what is there and what is supported.
 */
export function readArchitecture(config: JsonSection): { readonly architecture: Architecture; readonly task: Task } {
  const listed = config.values['architectures'];
  const names: readonly unknown[] = Array.isArray(listed) ? listed : [];
  const supported = Object.keys(taskOfArchitecture) as readonly Architecture[]; // The keys of a constant.
  const architecture = supported.find((name) => names.includes(name));
  if (architecture !== undefined) return { architecture, task: taskOfArchitecture[architecture] };
  const got = names.length > 0 ? names.join(', ') : `none (model_type ${JSON.stringify(config.values['model_type'])})`;
  throw new CheckpointError(
    'CHECKPOINT_ARCHITECTURE_UNSUPPORTED',
    `${config.path}: expected architectures to name one of ${supported.join(', ')}, got ${got}.`,
  );
}
