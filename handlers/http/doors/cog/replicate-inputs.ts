import type Handler from '../../../../app.ts';
import type { Task } from '../../../../checkpoint/config/architectures.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { compile, describeValue, nullableText } from '../../../../protocol/validation.ts';
import { modelOfServedTask } from '../../exchange/requested-model.ts';

/**
 * The inputs of Replicate's BLIP models. salesforce/blip has `image`, `task`, `question` and, for the task of matching,
 * `caption` as a text; andreasjansson/blip-2 has `caption` as a choice, a caption or the answer to `question`, and earlier
 * questions as the text `context`.
 * Sources: replicate.com/salesforce/blip and replicate.com/andreasjansson/blip-2, their inputs.
 */
interface ReplicateInputs {
  readonly image?: unknown;
  readonly img_url?: unknown;
  readonly task?: string | null;
  readonly question?: unknown;
  readonly caption?: string | boolean | null;
  readonly context?: unknown;
  readonly [input: string]: unknown;
}

const checkInputs = compile<ReplicateInputs>(
  { type: 'object', properties: { task: nullableText, caption: { type: ['string', 'boolean', 'null'] } } },
  'INVALID_INPUT',
);

/** Our tasks for each purpose of a request: BLIP-2 has two of them. */
const tasksFor = {
  caption: ['captioning', 'image-text-to-text'],
  answer: ['question-answering', 'image-text-to-text'],
  match: ['retrieval'],
  clip: ['clip'],
} as const satisfies Record<string, readonly Task[]>;

type Purpose = keyof typeof tasksFor;

/** The purpose of each name that a client may give a task. */
const taskNames: Readonly<Record<string, Purpose>> = {
  image_captioning: 'caption',
  captioning: 'caption',
  visual_question_answering: 'answer',
  'question-answering': 'answer',
  image_text_matching: 'match',
  retrieval: 'match',
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
  const { image, task: named, question, caption, context, ...others } = checkInputs(input);
  const asked = readAsked(question, caption);
  const purpose = readTask(named) ?? impliedPurpose(asked);
  requireMeaning(purpose === undefined ? purposesOf(first) : [purpose], asked);
  const model =
    purpose === undefined ? first : modelOfServedTask(models, tasksFor[purpose], descriptionOf(named, asked));
  return {
    model,
    inputs: {
      ...others,
      ...imageOf(image, others.img_url),
      ...(emptyAsAbsent(context) === undefined ? {} : { context }),
      ...(asked.question === undefined ? {} : { question: asked.question }),
      ...(typeof asked.caption === 'string' ? { text: asked.caption } : {}),
    },
  };
}

interface Asked {
  readonly question: unknown;
  readonly caption: unknown;
}

/** The question of andreasjansson/blip-2 where there is none. Clients of its form send it beside `caption: true` too. */
const DEFAULT_QUESTION = 'What is this a picture of?';

/** An empty question asks andreasjansson/blip-2 for a caption. */
function readAsked(question: unknown, caption: unknown): Asked {
  if (caption === true && question === DEFAULT_QUESTION) return { question: undefined, caption };
  if (caption !== false) return { question: emptyAsAbsent(question), caption: emptyAsAbsent(caption) };
  return question === '' ? { question: undefined, caption: true } : { question: question ?? DEFAULT_QUESTION, caption };
}

/** Forms send an empty text for an input that was left out. */
function emptyAsAbsent(value: unknown): unknown {
  return value === null || value === '' ? undefined : value;
}

function readTask(named: string | null | undefined): Purpose | undefined {
  if (named === undefined || named === null || named === '') return undefined;
  const purpose = Object.hasOwn(taskNames, named) ? taskNames[named] : undefined;
  if (purpose !== undefined) return purpose;
  const names = 'image_captioning, visual_question_answering or image_text_matching';
  throw new HandlerError('INVALID_INPUT', `Expected task to be ${names}, got ${describeValue(named)}.`);
}

function impliedPurpose({ question, caption }: Asked): Purpose | undefined {
  if (question !== undefined || caption === false) return 'answer';
  if (caption === undefined) return undefined;
  return caption === true ? 'caption' : 'match';
}

/** The purposes that a model serves. */
function purposesOf({ model }: Handler): readonly Purpose[] {
  const purposes = Object.keys(tasksFor) as readonly Purpose[]; // The keys of a constant.
  return purposes.filter((purpose) => tasksFor[purpose].some((task) => task === model?.checkpoint.task));
}

/** @throws HandlerError `INVALID_INPUT` for an input that the purposes would drop. */
function requireMeaning(purposes: readonly Purpose[], { question, caption }: Asked): void {
  const requireOne = (name: string, meant: readonly Purpose[]) => {
    if (purposes.some((purpose) => meant.includes(purpose))) return;
    const task = purposes[0] === undefined ? '' : ` for the task ${tasksFor[purposes[0]][0]}`;
    throw new HandlerError('INVALID_INPUT', `Expected no ${name}${task}, got one.`);
  };
  if (question !== undefined) requireOne('question', ['answer']);
  if (typeof caption === 'string') requireOne('caption', ['match', 'clip']);
  if (caption === true) requireOne('caption', ['caption']);
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
