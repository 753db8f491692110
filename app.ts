import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type InputName, type Inputs, inputSchema, type OutputName, outputSchema } from './input_schema.ts';
import { type CaptionItem, isFailure, isSuccess, type StageTimes } from './pipeline/caption-items.ts';
import { packCaptions } from './pipeline/caption-tensors.ts';
import { type Captioner, startCaptioner } from './pipeline/captioner.ts';
import type { GenerationInputs } from './pipeline/generation-settings.ts';
import { readSettings, type Settings } from './pipeline/settings.ts';
import { HandlerError } from './protocol/errors.ts';
import { type NamedTensor, unwrap } from './protocol/named-tensor.ts';
import type { InputLists } from './protocol/schema.ts';
import { compileInputs } from './protocol/validation.ts';

/** What ships with the package lies beside this file, in the sources as in the bundle. */
const shippedCheckpoint = fileURLToPath(new URL('./checkpoints/random-captioning', import.meta.url));
export const shippedPicture = fileURLToPath(new URL('./examples/chelsea.png', import.meta.url));

/** What `infer` returns: the captions, and `error` where some images have none. One value, or a list of several. */
export interface InferResult {
  readonly generated_output: string | readonly string[];
  readonly error?: string | readonly string[];
}

/** An answer in named tensors, with what it took. */
export interface TensorAnswer {
  readonly outputs: readonly NamedTensor[];
  /** Why some images have no caption; the output `error` has their messages. */
  readonly failures: readonly HandlerError[];
  readonly times: StageTimes;
  readonly generatedTokens: number;
}

const checkInputs = compileInputs(inputSchema);
const defaultOutputs = namesOf(outputSchema).filter((name) => !outputSchema[name].onRequest);

/** Settings from the environment variables of this process. */
export function settingsFromEnvironment(): Settings {
  return readSettings({ environment: process.env, cpuCount: availableParallelism(), shippedCheckpoint });
}

/**
 * The handler, with the lifecycle of an Inferless model: `initialize` once, `infer` any number of times, `finalize`.
 * Everything a platform needs goes through this class; handlers/ holds what is particular to each.
 */
export default class InferlessModel {
  readonly settings: Settings;
  #starting: Promise<Captioner> | undefined;
  #captioner: Captioner | undefined;

  constructor(settings: Settings = settingsFromEnvironment()) {
    this.settings = settings;
  }

  /** The loaded model; `undefined` before `initialize` and after `finalize`. */
  get captioner(): Captioner | undefined {
    return this.#captioner;
  }

  /**
   * Loads the checkpoint; once, however often it is called.
   * @throws CheckpointError when it cannot be served, HandlerError when the execution provider does not work here.
   */
  async initialize(): Promise<void> {
    const starting = this.#starting ?? startCaptioner(this.settings);
    this.#starting = starting;
    try {
      const captioner = await starting;
      if (this.#starting === starting) this.#captioner = captioner;
    } catch (error) {
      this.#starting = undefined;
      throw error;
    }
  }

  /**
   * Captions one image or several. Takes the dictionary that Inferless passes (input_schema.ts).
   * @throws HandlerError when an input is not valid, or no image could be captioned.
   */
  async infer(inputs: Inputs): Promise<InferResult> {
    const { outputs } = await this.inferTensors(inputs, defaultOutputs);
    return Object.fromEntries(outputs.map((tensor) => [tensor.name, unwrap(tensor)])) as unknown as InferResult; // The names asked for.
  }

  /**
   * The same with named tensors.
   * @param inputs values by name, each one value or a list; checked here against input_schema.ts.
   * @param outputs names of the tensors to return; `undefined` for the usual ones.
   * @throws HandlerError as `infer` does.
   */
  async inferTensors(inputs: unknown, outputs: readonly OutputName[] = defaultOutputs): Promise<TensorAnswer> {
    const lists = checkInputs(inputs);
    const captioner = this.#captioner;
    if (captioner === undefined)
      throw new HandlerError('NOT_READY', 'Expected the model to be loaded, got a request before that.');
    const { outcomes, times } = await captioner.caption(readItems(lists), readGenerationInputs(lists));
    const captions = outcomes.filter(isSuccess);
    const failures = outcomes.filter(isFailure).map(({ error }) => error);
    const [failure] = failures;
    if (captions.length === 0 && failure !== undefined) throw failure;
    return {
      outputs: packCaptions(outcomes, outputs, {
        captionsPerItem: captions[0]?.texts.length ?? 1,
        padTokenId: captioner.checkpoint.config.text.padTokenId,
      }),
      failures,
      times,
      generatedTokens: captions
        .flatMap((caption) => caption.sequences)
        .reduce((sum, { generatedCount }) => sum + generatedCount, 0),
    };
  }

  /** Finishes what was accepted and releases everything. `initialize` may follow again. */
  async finalize(): Promise<void> {
    const starting = this.#starting;
    this.#starting = undefined;
    this.#captioner = undefined;
    const captioner = await starting?.catch(() => undefined); // Whoever called initialize has the error.
    await captioner?.close();
  }
}

/** One item for each image and its prompt; one of either serves for all of the other. */
function readItems(lists: InputLists): readonly CaptionItem[] {
  const sources = (lists['img_url'] ?? []) as readonly string[]; // checkInputs let only strings through.
  const texts = (lists['text'] ?? ['']) as readonly string[];
  const count = Math.max(sources.length, texts.length);
  if (![1, count].includes(sources.length) || ![1, count].includes(texts.length)) {
    throw new HandlerError(
      'INVALID_INPUT',
      `Expected text for each of ${sources.length} images, or one for all, got ${texts.length}.`,
    );
  }
  const at = (values: readonly string[], index: number) => values[values.length === 1 ? 0 : index] ?? '';
  return Array.from({ length: count }, (_, index) => ({ source: at(sources, index), prompt: at(texts, index) }));
}

function readGenerationInputs(lists: InputLists): GenerationInputs {
  const names = namesOf(inputSchema).filter((name) => name !== 'img_url' && name !== 'text');
  return Object.fromEntries(names.map((name: InputName) => [name, lists[name]?.[0]])); // checkInputs held each to its field.
}

function namesOf<T extends object>(record: T): readonly (keyof T & string)[] {
  return Object.keys(record) as (keyof T & string)[];
}
