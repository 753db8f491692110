import { isIP, isIPv4, isIPv6 } from 'node:net';
import { blipPresets, imageTextPresets, type PresetName } from '../checkpoint/config/generation-parameters.ts';
import { HandlerError } from '../protocol/errors.ts';
import { checkChosen } from './chosen-settings.ts';
import { batchWindowsMs, type OptimizationGoal, optimizationGoals } from './optimization-goals.ts';
import {
  type ExecutionProviderChoice,
  executionProviderChoices,
  type PrecisionChoice,
  precisionChoices,
} from './sessions/execution-provider-choices.ts';
import { type WeightsChoice, weightsChoices } from './sessions/weights-choices.ts';
import {
  choice,
  count,
  countOrAuto,
  type EnvironmentVariables,
  flag,
  inSection,
  isModelName,
  list,
  milliseconds,
  optionalLimit,
  readDefinitions,
  readSetting,
  type SettingDefinitions,
  setting,
  text,
  type UnplacedSettings,
} from './setting-definitions.ts';
import type { CountChoice } from './worker-plan.ts';

const presetNames: readonly PresetName[] = [...new Set([...blipPresets, ...imageTextPresets])];

/** Everything that one model needs to run. Servers have settings of their own (handlers/service/server-settings.ts). */
export interface Settings {
  /** Folder, or `OWNER/NAME[@REVISION]` on the Hub. */
  readonly checkpoint: string;
  /** `undefined` for the name of the checkpoint's task. */
  readonly modelName: string | undefined;
  /** The preset of requests that name none, where the model has it; `undefined` for the model's own. */
  readonly preset: PresetName | undefined;
  /** Side in pixels; `undefined` for the checkpoint's own. */
  readonly imageSize: number | undefined;
  /** 0 for no cache. */
  readonly imageCacheBytes: number;
  readonly executionProvider: ExecutionProviderChoice;
  readonly precision: PrecisionChoice;
  /** Numbers of CUDA devices. An empty list stands for the first one, and lets `auto` fall back to the CPU. */
  readonly deviceIds: readonly number[];
  readonly optimizeFor: OptimizationGoal;
  readonly weights: WeightsChoice;
  /** Of each device, where there are devices. */
  readonly workerCount: CountChoice;
  readonly threadsPerWorker: CountChoice;
  readonly maxBatchSize: number | 'auto';
  readonly batchWindowMs: number;
  readonly maxQueueSize: number;
  /** `undefined` for as many as `maxQueueSize`. */
  readonly maxItemsPerRequest: number | undefined;
  readonly maxSequencesPerRequest: number;
  readonly maxSequencesPerToken: number;
  /** Beams, or returned texts, of one item. */
  readonly maxBeams: number;
  /** `undefined` for as many as the model has positions for. */
  readonly maxNewTokens: number | undefined;
  /** `undefined` for as many as the model usually needs. */
  readonly maxRunBytes: number | undefined;
  readonly runLimitMs: number;
  readonly maxDecodedBytes: number;
  readonly imageTimeoutMs: number;
  readonly imageMaxBytes: number;
  readonly imageMaxPixels: number;
  readonly imageMaxSide: number;
  readonly imageDecodeTimeoutMs: number;
  readonly imageMaxRedirects: number;
  readonly imageHttpsOnly: boolean;
  readonly imageAllowedHosts: readonly string[];
  readonly imagePrivateHosts: readonly string[];
  readonly imageNameServers: 'system' | readonly string[];
  /** `undefined` for this package and its version. */
  readonly imageUserAgent: string | undefined;
  readonly imageApplyExif: boolean;
}

/** Defaults that depend on the package and the goal. */
interface ChangingDefaults {
  readonly checkpoint: string;
  readonly batchWindowMs: number;
}

const deviceIds = setting<readonly number[]>({
  variable: 'BLIP_DEVICES',
  description:
    'Numbers of CUDA devices, separated by commas; each has workers of its own. CUDA must work on all of them.',
  defaultText: 'the first',
  defaultValue: [],
  parse: parseDeviceIds,
  expected: 'different whole numbers separated by commas, such as 0,1',
  form: 'NUMBER,…',
});

function parseDeviceIds(value: string): readonly number[] | undefined {
  const parts = value.split(',').map((part) => part.trim());
  const isList = parts.every((part) => /^\d{1,3}$/.test(part));
  const numbers = parts.map(Number);
  return isList && new Set(numbers).size === numbers.length ? numbers : undefined;
}

const optimizeFor = choice(
  'BLIP_OPTIMIZE_FOR',
  'The goal that workers, threads, batch window and weights have their defaults for: `latency` or `throughput`.',
  optimizationGoals,
  'latency',
);

/** Definitions for those who need no defaults. */
export function anySettingDefinitions(): SettingDefinitions<Settings> {
  return settingDefinitions({ checkpoint: '', batchWindowMs: batchWindowsMs.latency });
}

/** Every setting of a model with its environment variable. A test compares docs/reference/settings.md with it. */
export function settingDefinitions(defaults: ChangingDefaults): SettingDefinitions<Settings> {
  return {
    ...inSection<ModelSettings>('The model', modelDefinitions(defaults)),
    ...inSection<ComputingSettings>('Computing', { ...runDefinitions, ...batchDefinitions(defaults) }),
    ...inSection<RequestSettings>('What a request may ask for', requestDefinitions),
    ...inSection<ImageSettings>('Images', imageDefinitions),
  };
}

type ModelSettings = Pick<Settings, 'checkpoint' | 'modelName' | 'preset' | 'imageSize'>;
type BatchSettings = Pick<
  Settings,
  'maxBatchSize' | 'batchWindowMs' | 'maxRunBytes' | 'runLimitMs' | 'imageCacheBytes'
>;
type RequestSettings = Pick<
  Settings,
  | 'maxQueueSize'
  | 'maxItemsPerRequest'
  | 'maxSequencesPerRequest'
  | 'maxSequencesPerToken'
  | 'maxBeams'
  | 'maxNewTokens'
>;
type ImageSettings = Omit<
  Pick<Settings, Extract<keyof Settings, `image${string}`> | 'maxDecodedBytes'>,
  keyof ModelSettings | keyof BatchSettings
>;
type ComputingSettings = Omit<Settings, keyof ModelSettings | keyof RequestSettings | keyof ImageSettings>;

function modelDefinitions({ checkpoint }: ChangingDefaults): UnplacedSettings<ModelSettings> {
  return {
    checkpoint: text(
      'BLIP_CHECKPOINT',
      'Checkpoint folder, `OWNER/NAME[@REVISION]` of the Hub, or a name of open_clip such as `ViT-B-32:openai`.',
      checkpoint,
      'the one that ships',
      'PLACE',
    ),
    modelName: setting<string | undefined>({
      variable: 'BLIP_MODEL_NAME',
      description: 'Name of the model in paths and answers.',
      defaultText: 'the task',
      defaultValue: undefined,
      parse: (value) => (isModelName(value) ? value : undefined),
      expected: 'a name of letters, digits, dots, hyphens and underscores',
      form: 'NAME',
    }),
    preset: setting<PresetName | undefined>({
      variable: 'BLIP_PRESET',
      description:
        'Preset of requests that name none: `hf`, `bentoblip`, `original-blip`, or `vqa` for BLIP-2; ignored by models that lack it.',
      defaultText: "the model's own",
      defaultValue: undefined,
      parse: (value) => presetNames.find((name) => name === value),
      expected: `one of ${presetNames.join(', ')}`,
      form: presetNames.join('|'),
    }),
    imageSize: setting<number | undefined>({
      variable: 'BLIP_IMAGE_SIZE',
      description:
        'Side in pixels that images are resized to; position embeddings are interpolated where it is another.',
      defaultText: "the checkpoint's",
      defaultValue: undefined,
      parse: (value) => (/^[1-9]\d{0,3}$/.test(value) ? Number(value) : undefined),
      expected: 'a whole number from 1 to 9999',
      form: 'PIXELS',
    }),
  };
}

const runDefinitions: UnplacedSettings<Omit<ComputingSettings, keyof BatchSettings>> = {
  executionProvider: choice(
    'BLIP_EXECUTION_PROVIDER',
    'Where graphs run: `auto`, `cpu`, `cuda` or `webgpu`. `auto` takes CUDA where it works, else the CPU.',
    executionProviderChoices,
    'auto',
  ),
  precision: choice(
    'BLIP_PRECISION',
    'Type that models compute with: `auto`, `float32`, `float16` or `bfloat16`. `auto` is float16 on CUDA (bfloat16 for T5), else float32.',
    precisionChoices,
    'auto',
  ),
  deviceIds,
  optimizeFor,
  weights: choice(
    'BLIP_WEIGHTS',
    'How matrices lie in memory on a CPU: `mapped`, `packed`, `packed-when-idle`; `auto` is the last for int8 and for throughput, else the first.',
    weightsChoices,
    'auto',
  ),
  workerCount: countOrAuto(
    'BLIP_WORKERS',
    'Worker threads, of each device where there are `BLIP_DEVICES`; each computes one batch at a time. `auto` is 1, and for throughput on a CPU one for each CPU, up to 4.',
  ),
  threadsPerWorker: countOrAuto(
    'BLIP_THREADS',
    "Threads that one batch is computed with. `auto` is CPUs / workers; a container's limit of CPUs counts.",
  ),
};

/** How items are computed together, and within which bounds. */
function batchDefinitions({ batchWindowMs }: ChangingDefaults): UnplacedSettings<BatchSettings> {
  return {
    maxBatchSize: countOrAuto(
      'BLIP_MAX_BATCH_SIZE',
      'The most captions, answers, images or texts computed together; more texts about one image are, where memory allows. `auto` is 8, and up to 32 on CUDA.',
    ),
    batchWindowMs: milliseconds(
      'BLIP_BATCH_WINDOW_MS',
      'Milliseconds that a caption waits for those of other requests to share its batch.',
      batchWindowMs,
      0,
      '5; 20 for throughput',
    ),
    maxRunBytes: optionalLimit(
      'BLIP_MAX_RUN_BYTES',
      'The most bytes of caches and scores in one run; more rows go through several runs, and a text that needs more is refused.',
      '1000000000 or what five beams of 192 tokens need',
    ),
    runLimitMs: milliseconds(
      'BLIP_RUN_LIMIT_MS',
      'Milliseconds that a worker may compute without progress, for each billion weights of a larger language model; then its requests fail, and another worker takes its place.',
      120_000,
      1,
    ),
    imageCacheBytes: count(
      'BLIP_IMAGE_CACHE_BYTES',
      "The most bytes of encoded images that a model keeps; a client's next request about such a picture skips the vision model.",
      0,
      0,
      'none',
    ),
  };
}

/** Limits of the work that requests may ask for. The defaults are the most that the other limits let through. */
const requestDefinitions: UnplacedSettings<RequestSettings> = {
  maxQueueSize: count(
    'BLIP_MAX_QUEUE_SIZE',
    'Captions accepted and not answered yet; one more is refused with 429, except of a client with less than its share.',
    256,
    1,
  ),
  maxItemsPerRequest: optionalLimit(
    'BLIP_MAX_ITEMS_PER_REQUEST',
    'The most captions, answers, pairs, or images and texts, of one request.',
    '`BLIP_MAX_QUEUE_SIZE`',
  ),
  maxSequencesPerRequest: count(
    'BLIP_MAX_SEQUENCES_PER_REQUEST',
    'The most sequences of one request: beams, returned texts or candidates of each item.',
    65_536,
    1,
  ),
  maxSequencesPerToken: count(
    'BLIP_MAX_SEQUENCES_PER_TOKEN',
    'The most sequences of one token that are accepted and not answered yet; more are refused with 429. Without tokens, of all.',
    65_536,
    1,
  ),
  maxBeams: count('BLIP_MAX_BEAMS', 'The most beams, or returned texts, that a request may ask for.', 32, 1),
  maxNewTokens: optionalLimit(
    'BLIP_MAX_NEW_TOKENS',
    'The most new tokens that a request may ask for.',
    "the model's positions",
  ),
};

const imageDefinitions: UnplacedSettings<ImageSettings> = {
  imageTimeoutMs: milliseconds(
    'BLIP_IMAGE_TIMEOUT_MS',
    'Milliseconds to fetch one image in, redirects included.',
    10_000,
    1,
  ),
  imageMaxBytes: count('BLIP_IMAGE_MAX_BYTES', 'The most bytes of one encoded image.', 20_000_000, 1),
  imageMaxPixels: count('BLIP_IMAGE_MAX_PIXELS', 'The most pixels (width x height) of one image.', 50_000_000, 1),
  imageMaxSide: count('BLIP_IMAGE_MAX_SIDE', 'The most pixels of one side of an image.', 16_384, 1),
  imageDecodeTimeoutMs: milliseconds(
    'BLIP_IMAGE_DECODE_TIMEOUT_MS',
    'Milliseconds of processor time that decoding one image may take, where it takes long enough to be watched.',
    10_000,
    1,
  ),
  imageMaxRedirects: count('BLIP_IMAGE_MAX_REDIRECTS', 'The most redirects followed for one image.', 20, 0),
  imageHttpsOnly: flag('BLIP_IMAGE_HTTPS_ONLY', 'Refuses http URLs: `true` or `false`.', false),
  imageAllowedHosts: list(
    'BLIP_IMAGE_ALLOWED_HOSTS',
    'The only hosts that images are fetched from, separated by commas; `*.example.com` for all below a domain.',
    'all that are public',
    'hosts separated by commas',
    'HOST,…',
  ),
  imagePrivateHosts: list(
    'BLIP_IMAGE_PRIVATE_HOSTS',
    'Hosts that may have a private, loopback or link-local address, separated by commas; `*` for all.',
    'none',
    'hosts separated by commas',
    'HOST,…',
  ),
  imageNameServers: setting<'system' | readonly string[]>({
    variable: 'BLIP_IMAGE_NAME_SERVERS',
    description:
      'DNS servers that are asked for hosts of images: IP addresses separated by commas, with ports or without; or `system` to ask as other programs do (mDNS, LDAP and others too), four names at a time.',
    defaultText: "the system's",
    defaultValue: [],
    parse: parseNameServers,
    expected: 'IP addresses separated by commas, or system',
    form: 'system|ADDRESS,…',
  }),
  imageUserAgent: setting<string | undefined>({
    variable: 'BLIP_IMAGE_USER_AGENT',
    description: 'Program that hosts of images are told; some want a way to reach you in it, as Wikimedia does.',
    defaultText: '`blip-handler/VERSION`',
    defaultValue: undefined,
    parse: (value) => (/^[\x20-\x7e]{1,256}$/.test(value) ? value : undefined),
    expected: 'at most 256 printable characters of ASCII',
    form: 'TEXT',
  }),
  imageApplyExif: flag(
    'BLIP_IMAGE_APPLY_EXIF',
    'Turns images as their EXIF orientation says: `true` or `false`.',
    true,
  ),
  // Room for two batches of eight photos of 12 megapixels, one running and one waiting; or for four of the largest images.
  maxDecodedBytes: count(
    'BLIP_MAX_DECODED_BYTES',
    'The most bytes of decoded images (width x height x 3) in the process, until they are answered; more wait.',
    600_000_000,
    1,
  ),
};

function parseNameServers(value: string): 'system' | readonly string[] | undefined {
  if (value === 'system') return value;
  const servers = value.split(',').map((server) => server.trim());
  return servers.every(isNameServer) ? servers : undefined;
}

/** An address, `IPV4:PORT` or `[IPV6]:PORT`. */
function isNameServer(text: string): boolean {
  const [, bracketed = '', plain = '', port = '0'] = /^(?:\[(.*)\]|(.*)):(\d{1,5})$/.exec(text) ?? [];
  return isIP(text) !== 0 || ((isIPv6(bracketed) || isIPv4(plain)) && Number(port) <= 65_535);
}

interface SettingsSource {
  readonly environment: EnvironmentVariables;
  /** The checkpoint that ships with the package. */
  readonly shippedCheckpoint: string;
  /** Settings of the program itself. Their variables are not read. */
  readonly chosen?: Partial<Settings>;
}

/**
 * Reads a model's settings from environment variables, except for those that the program chose. An empty variable counts
 * as absent.
 * @throws HandlerError `SETTINGS_INVALID`, naming the variable or the chosen setting.
 */
export function readSettings({ environment, shippedCheckpoint, chosen = {} }: SettingsSource): Settings {
  const ours = checkChosen(anySettingDefinitions(), chosen);
  const batchWindowMs = batchWindowsMs[ours.optimizeFor ?? readSetting(optimizeFor, environment)];
  const definitions = settingDefinitions({ checkpoint: shippedCheckpoint, batchWindowMs });
  const hidden = Object.entries(definitions).filter(([name]) => Object.hasOwn(ours, name));
  const unset = Object.fromEntries(hidden.map(([, { variable }]) => [variable, undefined]));
  const settings = { ...readDefinitions(definitions, { ...environment, ...unset }), ...ours };
  requireEffect(settings);
  return settings;
}

/** @throws HandlerError `SETTINGS_INVALID` when devices of CUDA are named where another provider computes. */
function requireEffect({ executionProvider, deviceIds: ids }: Settings): void {
  if (ids.length === 0 || executionProvider === 'auto' || executionProvider === 'cuda') return;
  throw new HandlerError(
    'SETTINGS_INVALID',
    `Expected BLIP_EXECUTION_PROVIDER to be auto or cuda where BLIP_DEVICES is set, got ${executionProvider}.`,
  );
}
