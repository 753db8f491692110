import type Handler from '../../../../app.ts';
import type { Task } from '../../../../checkpoint/config/architectures.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { compile, describeValue, nullableText } from '../../../../protocol/validation.ts';
import { modelOfServedTask } from '../../exchange/requested-model.ts';

/**
 * The inputs of Replicate's BLIP models. salesforce/blip has `image`, `task`, `question` and, for the task of matching,
 * `caption` as a text; andreasjansson/blip-2 has `caption` as a choice: a caption, or the answer to `question`.
 * Sources: replicate.com/salesforce/blip and replicate.com/andreasjansson/blip-2, their inputs.
 */
interface ReplicateInputs {
  readonly image?: unknown;
  readonly img_url?: unknown;
  readonly task?: string | null;
  readonly question?: unknown;
  readonly caption?: string | boolean | null;
  readonly [input: string]: unknown;
}

const checkInputs = compile<ReplicateInputs>(
  { type: 'object', properties: { task: nullableText, caption: { type: ['string', 'boolean', 'null'] } } },
  'INVALID_INPUT',
);

/** Our task for each name that a client may give it. */
const taskNames: Readonly<Record<string, Task>> = {
  image_captioning: 'captioning',
  captioning: 'captioning',
  visual_question_answering: 'question-answering',
  'question-answering': 'question-answering',
  image_text_matching: 'retrieval',
  retrieval: 'retrieval',
  clip: 'clip',
};

/**
 * The inputs under our names, and the model that they are for.
 * @param first answers where the inputs say no task.
 * @throws HandlerError `INVALID_INPUT` when no model has the task, or an input has no meaning for it.
 */
export function readReplicateInputs(
  input: Readonly<Record<string, unknown>>,
  models: readonly Handler[],
  first: Handler,
): { readonly inputs: object; readonly model: Handler } {
  const { image, task: named, question, caption, ...others } = checkInputs(input);
  const asked = { question: emptyAsAbsent(question), caption: emptyAsAbsent(caption) };
  const task = readTask(named) ?? impliedTask(asked);
  requireMeaning(task ?? first.model?.checkpoint.task, asked);
  const model = task === undefined ? first : modelOfServedTask(models, [task], descriptionOf(named, asked));
  return {
    model,
    inputs: {
      ...others,
      ...imageOf(image, others.img_url),
      ...(asked.question === undefined ? {} : { question: asked.question }),
      ...(typeof asked.caption === 'string' ? { text: asked.caption } : {}),
    },
  };
}

interface Asked {
  readonly question: unknown;
  readonly caption: unknown;
}

/** Forms send an empty text for an input that was left out. */
function emptyAsAbsent(value: unknown): unknown {
  return value === null || value === '' ? undefined : value;
}

function readTask(named: string | null | undefined): Task | undefined {
  if (named === undefined || named === null || named === '') return undefined;
  const task = Object.hasOwn(taskNames, named) ? taskNames[named] : undefined;
  if (task !== undefined) return task;
  const names = 'image_captioning, visual_question_answering or image_text_matching';
  throw new HandlerError('INVALID_INPUT', `Expected task to be ${names}, got ${describeValue(named)}.`);
}

function impliedTask({ question, caption }: Asked): Task | undefined {
  if (question !== undefined || caption === false) return 'question-answering';
  if (caption === undefined) return undefined;
  return caption === true ? 'captioning' : 'retrieval';
}

/** @throws HandlerError `INVALID_INPUT` for an input that the task would drop. */
function requireMeaning(task: Task | undefined, { question, caption }: Asked): void {
  const refuse = (name: string) => {
    throw new HandlerError('INVALID_INPUT', `Expected no ${name} for the task ${task}, got one.`);
  };
  if (question !== undefined && task !== 'question-answering') refuse('question');
  if (typeof caption === 'string' && task !== 'retrieval' && task !== 'clip') refuse('caption');
  if (caption === true && task !== 'captioning') refuse('caption');
}

function descriptionOf(named: string | null | undefined, { question, caption }: Asked): string {
  if (named) return `the task ${named}`;
  if (question !== undefined) return 'a question';
  return typeof caption === 'string' ? 'a caption to compare' : `caption ${caption}`;
}

function imageOf(image: unknown, ownName: unknown): object {
  if (image === undefined || image === null) return {};
  if (ownName === undefined || ownName === null) return { img_url: image };
  throw new HandlerError('INVALID_INPUT', 'Expected image or img_url, which mean the same, got both.');
}
