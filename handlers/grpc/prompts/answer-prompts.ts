import type Handler from '../../../app.ts';
import type { TensorAnswer } from '../../../pipeline/infer-request.ts';
import { HandlerError, toHandlerError } from '../../../protocol/errors.ts';
import { askModel, type InferCall } from '../ask-model.ts';
import { type PromptModel, promptModel } from './prompt-model.ts';

/** An image and a text about it: what the services of prompts ask, each in messages of its own. */
export interface ImagePrompt {
  /** The bytes of an image's file, or an http(s) or data: URL. */
  readonly image: string | Uint8Array;
  /** Empty for none. */
  readonly prompt: string;
  /** Empty for the first model that answers prompts. */
  readonly model: string;
  /** Inputs of generation by their names. */
  readonly parameters: Readonly<Record<string, unknown>>;
}

export interface PromptAnswer {
  readonly text: string;
  /** The probability of generating this text, from 0 to 1. */
  readonly score: number;
}

export interface FailedPrompt {
  readonly error: HandlerError;
}

/** Inputs that a prompt has fields of its own for. */
const ownInputs = ['img_url', 'text', 'question'];

/**
 * Answers prompts, in their order. Those of the same model and parameters are one request. One that fails leaves the
 * others alone.
 * @param prompts those that could not be read fail as they did.
 * @throws HandlerError `INVALID_INPUT` for more prompts than a request may have; the error of the first prompt where none
 *   has an answer; the signal's reason when that aborts.
 */
export async function answerPrompts(
  models: readonly Handler[],
  prompts: readonly (ImagePrompt | FailedPrompt)[],
  call: InferCall,
): Promise<readonly (PromptAnswer | FailedPrompt)[]> {
  requireFew(models, prompts.length);
  const outcomes: (PromptAnswer | FailedPrompt)[] = prompts.map((prompt) => (isFailed(prompt) ? prompt : unanswered()));
  const groups = [...groupsOf(prompts).values()];
  await Promise.all(
    groups.map(async (group) => {
      const answers = await answerGroup(models, group, call);
      for (const [position, { index }] of group.entries()) outcomes[index] = answers[position] ?? unanswered();
    }),
  );
  call.signal.throwIfAborted();
  const [first] = outcomes;
  if (first !== undefined && isFailed(first) && outcomes.every(isFailed)) throw first.error;
  return outcomes;
}

export function isFailed(value: object): value is FailedPrompt {
  return 'error' in value;
}

/** Reads a prompt, or keeps the error of reading it. */
export function readPrompt(read: () => ImagePrompt): ImagePrompt | FailedPrompt {
  try {
    const prompt = read();
    requireUrl(prompt.image);
    return prompt;
  } catch (thrown) {
    return { error: toHandlerError(thrown) };
  }
}

function unanswered(): FailedPrompt {
  return { error: toHandlerError('A prompt has no outcome.') };
}

/** @throws HandlerError `IMAGE_SOURCE_INVALID` for a text that is no URL: paths of files above all. */
function requireUrl(image: string | Uint8Array): void {
  if (typeof image !== 'string' || /^(https?|data):/i.test(image)) return;
  throw new HandlerError(
    'IMAGE_SOURCE_INVALID',
    'Expected an http(s) or data: URL, got another text. Send the bytes of a file: the server reads no paths.',
  );
}

function requireFew(models: readonly Handler[], count: number): void {
  const maximum = Math.max(...models.map(({ settings }) => settings.maxItemsPerRequest ?? settings.maxQueueSize));
  if (count <= maximum) return;
  throw new HandlerError(
    'INVALID_INPUT',
    `Expected at most ${maximum} prompts in a request (BLIP_MAX_ITEMS_PER_REQUEST), got ${count}.`,
  );
}

type Placed = ImagePrompt & { readonly index: number };

function groupsOf(prompts: readonly (ImagePrompt | FailedPrompt)[]): ReadonlyMap<string, readonly Placed[]> {
  const groups = new Map<string, Placed[]>();
  for (const [index, prompt] of prompts.entries()) {
    if (isFailed(prompt)) continue;
    const key = JSON.stringify([prompt.model, prompt.parameters]);
    const group = groups.get(key) ?? [];
    group.push({ ...prompt, index });
    groups.set(key, group);
  }
  return groups;
}

/** Answers prompts of the same model and parameters. */
async function answerGroup(
  models: readonly Handler[],
  group: readonly ImagePrompt[],
  call: InferCall,
): Promise<readonly (PromptAnswer | FailedPrompt)[]> {
  try {
    const asked = promptModel(models, group[0]?.model ?? '');
    const isAsked = ({ prompt }: ImagePrompt) => prompt !== '' || asked.isRequired !== true;
    const complete = group.filter(isAsked);
    const answers = (complete.length === 0 ? [] : await askGroup(asked, complete, call)).values();
    return group.map((prompt) => (isAsked(prompt) ? (answers.next().value ?? unanswered()) : withoutQuestion()));
  } catch (thrown) {
    const error = toHandlerError(thrown);
    return group.map(() => ({ error }));
  }
}

function withoutQuestion(): FailedPrompt {
  return { error: new HandlerError('INVALID_INPUT', 'Expected the prompt to be a question, got none.') };
}

async function askGroup(
  { model, input, output, defaults }: PromptModel,
  group: readonly ImagePrompt[],
  call: InferCall,
): Promise<readonly (PromptAnswer | FailedPrompt)[]> {
  const inputs = {
    ...defaults,
    ...checkedParameters(group[0]?.parameters ?? {}),
    num_return_sequences: 1,
    img_url: group.map(({ image }) => image),
    [input]: group.map(({ prompt }) => prompt),
  };
  return readAnswers(await askModel(model, { inputs, outputs: [output, 'sequence_logprob'] }, call), output);
}

/** @throws HandlerError for parameters that would change what is asked, or how many answers there are. */
function checkedParameters(parameters: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const own = ownInputs.find((name) => Object.hasOwn(parameters, name));
  if (own !== undefined)
    throw new HandlerError('INVALID_INPUT', `Expected parameters without ${own}, which the prompt itself has; got it.`);
  const { num_return_sequences: count, ...others } = parameters;
  if (count === undefined || count === null || count === 1) return others;
  throw new HandlerError('INVALID_PARAMETER', 'Expected num_return_sequences to be 1, as a prompt has one answer.');
}

function readAnswers({ outputs, failures }: TensorAnswer, output: string): readonly (PromptAnswer | FailedPrompt)[] {
  const valuesOf = (name: string) => outputs.find((tensor) => tensor.name === name)?.data ?? [];
  const [logprobs, errors, failed] = [valuesOf('sequence_logprob'), valuesOf('error'), failures.values()];
  return valuesOf(output).map((text, index) => {
    if ((errors[index] ?? '') !== '') return { error: withoutPlace(failed.next().value) };
    return { text: String(text), score: Math.exp(Number(logprobs[index])) };
  });
}

/** The error of an image by itself: its number in the group says nothing to the client. */
function withoutPlace(failure: HandlerError | undefined): HandlerError {
  return failure?.cause instanceof HandlerError ? failure.cause : toHandlerError(failure);
}
