import { availableParallelism } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { type Checkpoint, openCheckpoint, textPartOf } from '../checkpoint/checkpoint.ts';
import type { Task } from '../checkpoint/config/architectures.ts';
import type { PresetName } from '../checkpoint/config/generation-parameters.ts';
import { locateCheckpoint } from '../checkpoint/hub/locate.ts';
import packageDescription from '../package.json' with { type: 'json' };
import { prepareInferenceRequests } from '../protocol/inference-request.ts';
import type { TaskSchema } from '../protocol/schema.ts';
import { unlessAborted } from './abort.ts';
import { AcceptedRequests, type WorkLimits } from './accepted-requests.ts';
import { maxBatchSizeOn } from './batch-size.ts';
import { availableCpus } from './container-limits.ts';
import { findCudaMachine } from './cuda/diagnosis.ts';
import type { ByteBudget } from './images/byte-budget.ts';
import { decodingAdvice } from './images/decoding-advice.ts';
import { decodedBudget } from './images/process-budget.ts';
import type { AnswerPrecision, InferRequest, TensorAnswer } from './infer-request.ts';
import { explainNativeFailure } from './native-packages.ts';
import { runLimitsOf } from './run-limits.ts';
import type { ChosenExecutionProvider } from './sessions/execution-provider-choices.ts';
import { cacheBytesOfWorker, imageCacheNotice } from './sessions/image-cache-size.ts';
import { chooseWeightsLayout, type WeightsLayout } from './sessions/weights-choices.ts';
import type { CheckpointOf, KindsOf } from './sessions/work.ts';
import type { Settings } from './settings.ts';
import { registry, schemaOf } from './tasks/registry.ts';
import type { ReadRequest, TaskContext } from './tasks/task.ts';
import { usualPreset } from './tasks/usual-preset.ts';
import { openTokenizer } from './texts/tokenizer.ts';
import { checkVocabulary } from './texts/vocabulary-check.ts';
import { planWorkers, type WorkerPlan } from './worker-plan.ts';
import { type BatchDone, startWorkerPool, type WorkerPool } from './workers/worker-pool.ts';

/** A loaded checkpoint, ready for requests of its task. */
export interface RunningModel {
  readonly checkpoint: Checkpoint;
  /** The inputs and outputs of its task. */
  readonly schema: TaskSchema;
  readonly executionProvider: ChosenExecutionProvider;
  readonly precision: AnswerPrecision;
  /** The preset of requests that name none, where the settings have one that its task knows. */
  readonly preset: PresetName | undefined;
  /** How its matrices lie in memory; `packed-when-idle` before and after they are packed. On a GPU, `undefined`. */
  readonly weights: WeightsLayout | undefined;
  readonly workers: WorkerPlan;
  /** Time to be ready: threads, imports, tokenizer and sessions. */
  readonly loadMs: number;
  /** The sessions' part of it: graphs written, weights mapped, sessions open. */
  readonly modelLoadMs: number;
  /** Whether a worker lives and is not overdue with a run, so that a request would be computed soon. */
  isHealthy(): boolean;
  /** Items that were accepted and are not answered yet: `maxQueueSize` is their limit. */
  queuedItems(): number;
  /** @throws HandlerError `OVERLOADED` where `infer` would refuse any request of the client, for want of room. */
  requireRoom(client?: string): void;
  /**
   * Answers one request. An item that fails leaves the others alone. Of the events, `done` is left to the caller.
   * @throws HandlerError `INVALID_INPUT`, `INVALID_PARAMETER`, `OVERLOADED` or `NOT_READY`, which concern all items, as
   *   `PROMPT_TOO_LONG` of retrieval, CLIP and candidates does; or that of the first item, when none has a result.
   */
  infer(request: InferRequest): Promise<TensorAnswer>;
  /** Finishes what was accepted, then releases the sessions and their threads. */
  close(): Promise<void>;
}

export interface StartOptions {
  /** Takes lines for people: that a checkpoint is fetched and what delays it; later, that a worker ended and why. */
  readonly onNotice?: (line: string) => void;
  /** Ends a download that is under way. */
  readonly signal?: AbortSignal;
  readonly batchDone?: BatchDone;
}

/**
 * Loads the checkpoint of the settings. A checkpoint of the Hub is fetched first, where the cache lacks it.
 * @throws CheckpointError when the checkpoint cannot be used; HandlerError `EXECUTION_PROVIDER_UNAVAILABLE`, or
 *   `NATIVE_LIBRARY_UNUSABLE` where onnxruntime-node or sharp does not load, or `SETTINGS_INVALID` when another model of
 *   the process has another bound for decoded images.
 */
export async function startModel(settings: Settings, options: StartOptions = {}): Promise<RunningModel> {
  const share = decodedBudget.join(settings.maxDecodedBytes);
  try {
    const model = await startWithin(share.budget, settings, options);
    return { ...model, close: () => model.close().finally(share.leave) };
  } catch (error) {
    share.leave();
    throw error;
  }
}

async function startWithin(budget: ByteBudget, settings: Settings, options: StartOptions): Promise<RunningModel> {
  const folder = await locateCheckpoint(settings.checkpoint, process.env, options);
  const startMs = performance.now();
  const checkpoint = openCheckpoint(folder, settings.imageSize);
  for (const notice of checkpoint.notices) options.onNotice?.(notice);
  const task = await startTask(checkpoint.task, checkpoint, settings, { ...options, budget }).catch((thrown) => {
    throw explainNativeFailure(thrown);
  });
  const schema = schemaOf(checkpoint);
  const precision = checkpoint.quantizedTo ?? task.pool.executionProvider.precision;
  const { executionProvider } = task.pool.executionProvider;
  const { plan } = task;
  const cacheNotice = imageCacheNotice(settings.imageCacheBytes, plan.workerCount, checkpoint, executionProvider);
  if (cacheNotice !== undefined) options.onNotice?.(cacheNotice);
  const { preset, notice: presetNotice } = usualPreset(schema, settings.preset);
  if (presetNotice !== undefined) options.onNotice?.(`${settings.modelName ?? checkpoint.task}: ${presetNotice}`);
  if (settings.weights !== 'auto' && executionProvider !== 'cpu')
    options.onNotice?.(`BLIP_WEIGHTS has no effect: ${executionProvider} has a copy of the weights of its own.`);
  return {
    checkpoint,
    loadMs: performance.now() - startMs,
    schema,
    executionProvider: task.pool.executionProvider,
    precision,
    preset,
    weights: weightsOn(task.pool.executionProvider, weightsOf(settings, checkpoint)),
    workers: plan,
    modelLoadMs: task.pool.loadMs,
    ...answering(task, precision, usualOutputs(schema), workLimits(settings)),
  };
}

function weightsOf(
  { weights, optimizeFor }: Settings,
  { quantizedTo }: Pick<Checkpoint, 'quantizedTo'>,
): WeightsLayout {
  return chooseWeightsLayout(weights, quantizedTo !== undefined || optimizeFor === 'throughput');
}

/** Only the CPU computes with weights as they lie in memory; a GPU gets a copy. */
function weightsOn({ executionProvider }: ChosenExecutionProvider, weights: WeightsLayout): WeightsLayout | undefined {
  return executionProvider === 'cpu' ? weights : undefined;
}

function workLimits(settings: Settings): WorkLimits {
  return {
    maxItems: settings.maxQueueSize,
    maxItemsPerRequest: settings.maxItemsPerRequest,
    maxSequencesPerRequest: settings.maxSequencesPerRequest,
    maxSequencesPerClient: settings.maxSequencesPerToken,
  };
}

/** The outputs of a request that names none. */
function usualOutputs({ outputs }: TaskSchema): readonly string[] {
  return Object.entries(outputs)
    .filter(([, { onRequest }]) => !onRequest)
    .map(([name]) => name);
}

interface RunningTask {
  readonly read: ReadRequest<unknown>;
  readonly pool: PoolState;
  readonly plan: WorkerPlan;
}

/** The pool as seen from outside the task, which alone knows its kinds of batches. */
type PoolState = Pick<WorkerPool<never>, 'close' | 'executionProvider' | 'isServing' | 'loadMs' | 'requireServing'>;

/** Starts the workers, and meanwhile the main thread's part of the task. */
async function startTask<Name extends Task>(
  name: Name,
  checkpoint: CheckpointOf<Name> & Pick<Checkpoint, 'folder' | 'quantizedTo'>,
  settings: Settings,
  { budget, ...options }: StartOptions & { readonly budget: ByteBudget },
): Promise<RunningTask> {
  const { onNotice } = options;
  const starting = startPlannedWorkers(name, checkpoint, settings, options);
  try {
    const preparing = taskContext(name, checkpoint, settings, budget, onNotice);
    const [prepared, { pool, plan }] = await Promise.all([preparing, starting]);
    const maxBatchSize = maxBatchSizeOn(settings.maxBatchSize, pool.executionProvider, {
      vision: checkpoint.config.vision,
      text: textPartOf(checkpoint.config),
    });
    for (const line of decodingAdvice(pool.executionProvider)) onNotice?.(line);
    const { precision } = pool.executionProvider;
    return { read: registry[name].start(checkpoint, pool, { ...prepared, maxBatchSize, precision }), pool, plan };
  } catch (error) {
    await starting.then(
      ({ pool }) => pool.close(),
      () => undefined,
    );
    throw error;
  }
}

interface PlannedWorkers<Name extends Task> {
  readonly pool: WorkerPool<KindsOf<Name>>;
  readonly plan: WorkerPlan;
}

/**
 * Starts the workers for the place where graphs run. Where `auto` may find CUDA, those of a GPU start; the rare machine on
 * which it does not work after all starts those of a CPU in their place, where they are others.
 */
async function startPlannedWorkers<Name extends Task>(
  name: Name,
  checkpoint: Pick<Checkpoint, 'folder' | 'quantizedTo' | 'config'>,
  settings: Settings,
  options: StartOptions,
): Promise<PlannedWorkers<Name>> {
  const place = expectedPlace(settings, checkpoint);
  const cpus = { available: availableCpus(), machine: availableParallelism() };
  const first = planWorkers(settings, place, cpus);
  const onCpu = planWorkers(settings, 'cpu', cpus);
  const pool = await startWorkers(name, checkpoint, settings, first, options);
  const isAsExpected = pool.executionProvider.executionProvider !== 'cpu' || isDeepStrictEqual(first, onCpu);
  if (isAsExpected) return { pool, plan: first };
  await pool.close();
  return { pool: await startWorkers(name, checkpoint, settings, onCpu, options), plan: onCpu };
}

function expectedPlace(
  { executionProvider, deviceIds }: Settings,
  { quantizedTo }: Pick<Checkpoint, 'quantizedTo'>,
): 'cpu' | 'gpu' {
  if (quantizedTo !== undefined || executionProvider === 'cpu') return 'cpu';
  const isOptional = executionProvider === 'auto' && deviceIds.length === 0;
  return isOptional && !findCudaMachine().hasProvider ? 'cpu' : 'gpu';
}

function startWorkers<Name extends Task>(
  name: Name,
  checkpoint: Pick<Checkpoint, 'folder' | 'quantizedTo' | 'config'>,
  settings: Settings,
  { workerCount, threadsPerWorker }: WorkerPlan,
  { onNotice, batchDone }: StartOptions,
): Promise<WorkerPool<KindsOf<Name>>> {
  return startWorkerPool(
    {
      folder: checkpoint.folder,
      task: name,
      imageSize: settings.imageSize,
      weights: weightsOf(settings, checkpoint),
      executionProvider: settings.executionProvider,
      precision: settings.precision,
      threadCount: threadsPerWorker,
      imageCacheBytes: cacheBytesOfWorker(settings.imageCacheBytes, workerCount),
      ...runLimitsOf(settings, checkpoint),
    },
    workerCount,
    {
      deviceIds: settings.deviceIds,
      onNotice: (line) => onNotice?.(`${settings.modelName ?? name}: ${line}`),
      ...(batchDone === undefined ? {} : { batchDone }),
    },
  );
}

/** sharp takes as long to import as the worker takes to load the session, so both happen at once. */
async function taskContext(
  name: Task,
  { folder, config }: Pick<Checkpoint, 'folder' | 'config'>,
  settings: Settings,
  budget: ByteBudget,
  onNotice: StartOptions['onNotice'],
): Promise<Omit<TaskContext, 'maxBatchSize' | 'precision'>> {
  const importing = import('./images/image-source.ts');
  const tokenizer = openTokenizer(folder);
  for (const line of checkVocabulary(tokenizer, textPartOf(config))) onNotice?.(line);
  const { loadImage } = await importing;
  prepareInferenceRequests();
  registry[name].prepare();
  const { batchWindowMs, maxBeams, maxNewTokens, maxRunBytes } = settings;
  const limits = { batchWindowMs, maxBeams, maxNewTokens, maxRunBytes };
  const { preset } = usualPreset(registry[name].schema, settings.preset);
  return { tokenizer, loadImage, imageOptions: imageOptions(settings, budget), preset, ...limits };
}

function imageOptions(settings: Settings, budget: ByteBudget): TaskContext['imageOptions'] {
  return {
    timeoutMs: settings.imageTimeoutMs,
    maxBytes: settings.imageMaxBytes,
    maxRedirects: settings.imageMaxRedirects,
    maxPixels: settings.imageMaxPixels,
    maxSide: settings.imageMaxSide,
    decodeTimeoutMs: settings.imageDecodeTimeoutMs,
    httpsOnly: settings.imageHttpsOnly,
    allowedHosts: settings.imageAllowedHosts,
    privateHosts: settings.imagePrivateHosts,
    nameServers: settings.imageNameServers,
    userAgent: settings.imageUserAgent ?? `blip-handler/${packageDescription.version}`,
    applyExif: settings.imageApplyExif,
    decodedBudget: budget,
  };
}

/** Takes requests while there is room for their items, and answers them. */
function answering(
  { read, pool }: RunningTask,
  precision: AnswerPrecision,
  usualOutputs: readonly string[],
  limits: WorkLimits,
): Pick<RunningModel, 'infer' | 'isHealthy' | 'queuedItems' | 'requireRoom' | 'close'> {
  const accepted = new AcceptedRequests(limits);
  return {
    isHealthy: () => pool.isServing(),
    queuedItems: () => accepted.itemCount,
    requireRoom: (client) => accepted.requireRoom({ items: 1, sequences: 1 }, client),
    async infer({ inputs, outputs = usualOutputs, signal, client, events }) {
      signal?.throwIfAborted();
      const { size, run } = read(inputs, outputs);
      pool.requireServing();
      accepted.requireRoom(size, client);
      events?.accepted?.();
      const answer = await unlessAborted(accepted.add(size, run({ signal, client, events }), client), signal);
      return { ...answer, precision };
    },
    async close() {
      await accepted.settled();
      await pool.close();
    },
  };
}
