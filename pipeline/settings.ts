import { HandlerError } from '../protocol/errors.ts';
import { type ExecutionProviderChoice, executionProviderChoices } from './sessions/execution-provider-choices.ts';

/** A model by its name and its checkpoint. */
interface ModelChoice {
  readonly name: string;
  readonly checkpoint: string;
}

/** Everything that can be set from outside, in one place. */
export interface Settings {
  readonly checkpoint: string;
  /** `undefined` for the name of the checkpoint's task. */
  readonly modelName: string | undefined;
  /** Several models in one process; empty for the one that `checkpoint` and `modelName` say. */
  readonly models: readonly ModelChoice[];
  /** `undefined` for the checkpoint's own. */
  readonly imageSize: number | undefined;
  readonly executionProvider: ExecutionProviderChoice;
  readonly workerCount: number;
  readonly threadsPerWorker: number;
  readonly maxBatchSize: number;
  readonly batchWindowMs: number;
  readonly maxQueueSize: number;
  readonly maxDecodedBytes: number;
  readonly imageTimeoutMs: number;
  readonly imageMaxBytes: number;
  readonly imageMaxPixels: number;
  readonly imageMaxSide: number;
  readonly imageMaxRedirects: number;
  readonly imageHttpsOnly: boolean;
  readonly imageAllowedHosts: readonly string[];
  readonly imagePrivateHosts: readonly string[];
  readonly imageApplyExif: boolean;
  readonly host: string | undefined;
  readonly port: number;
  /** In place of `port`, where the platform sets it. */
  readonly vertexPort: number | undefined;
  readonly vertexHealthRoute: string | undefined;
  readonly vertexPredictRoute: string | undefined;
  readonly vertexAuthorizer: 'tokens' | 'platform';
  /** `undefined` where gRPC is off. */
  readonly grpcPort: number | undefined;
  readonly grpcTlsCert: string | undefined;
  readonly grpcTlsKey: string | undefined;
  readonly grpcTlsClientCa: string | undefined;
  readonly apiTokens: readonly string[];
  /** `undefined` for any number. */
  readonly maxRequestsPerToken: number | undefined;
  /** `undefined` for any time. */
  readonly requestTimeoutMs: number | undefined;
  readonly lambdaAuthorizer: 'tokens' | 'platform';
  readonly maxBodyBytes: number;
  readonly drainLimitMs: number;
  readonly logLevel: string;
}

interface Definition<T> {
  /** The environment variable. */
  readonly variable: string;
  readonly description: string;
  /** As the README shows it. */
  readonly defaultText: string;
  readonly defaultValue: T | ((context: { readonly cpuCount: number; readonly shippedCheckpoint: string }) => T);
  /** Returns `undefined` where the text is not such a value. */
  readonly parse: (text: string) => T | undefined;
  readonly expected: string;
}

function setting<T>(definition: Definition<T>): Definition<T> {
  return definition;
}

function count(
  variable: string,
  description: string,
  defaultValue: number | Definition<number>['defaultValue'],
  minimum: number,
  defaultText?: string,
) {
  return setting<number>({
    variable,
    description,
    defaultText: defaultText ?? String(defaultValue),
    defaultValue,
    parse: (text) => (/^\d{1,15}$/.test(text) && Number(text) >= minimum ? Number(text) : undefined),
    expected: `a whole number of at least ${minimum}`,
  });
}

/** The longest time that Node's timers take: anything longer would be over at once. */
const MAX_TIMER_MS = 2_147_483_647;

function milliseconds(variable: string, description: string, defaultValue: number, minimum: number) {
  const definition = count(variable, description, defaultValue, minimum);
  const parse = (text: string) => {
    const time = definition.parse(text);
    return time !== undefined && time <= MAX_TIMER_MS ? time : undefined;
  };
  return { ...definition, parse, expected: `a whole number from ${minimum} to ${MAX_TIMER_MS}` };
}

/** No limit by default. */
function optionalLimit(variable: string, description: string) {
  return setting<number | undefined>({
    variable,
    description,
    defaultText: 'no limit',
    defaultValue: undefined,
    parse: (value) => (/^[1-9]\d{0,8}$/.test(value) ? Number(value) : undefined),
    expected: 'a whole number from 1 to 999999999',
  });
}

function text(
  variable: string,
  description: string,
  defaultValue: Definition<string>['defaultValue'],
  defaultText: string,
) {
  return setting<string>({
    variable,
    description,
    defaultText,
    defaultValue,
    parse: (value) => value,
    expected: 'text',
  });
}

/** Where a file is; none by default. */
function path(variable: string, description: string, defaultText: string) {
  return setting<string | undefined>({
    variable,
    description,
    defaultText,
    defaultValue: undefined,
    parse: (value) => value,
    expected: 'a path',
  });
}

/** A path of requests that a platform chooses; none by default. */
function urlPath(variable: string, description: string) {
  return setting<string | undefined>({
    variable,
    description,
    defaultText: 'none',
    defaultValue: undefined,
    parse: (value) => (/^\/[^\s?#]*$/.test(value) ? value : undefined),
    expected: 'a path that begins with a slash',
  });
}

function choice<const T extends string>(variable: string, description: string, choices: readonly T[], defaultValue: T) {
  return setting<T>({
    variable,
    description,
    defaultText: defaultValue,
    defaultValue,
    parse: (value) => choices.find((candidate) => candidate === value),
    expected: `one of ${choices.join(', ')}`,
  });
}

function flag(variable: string, description: string, defaultValue: boolean) {
  return setting<boolean>({
    variable,
    description,
    defaultText: String(defaultValue),
    defaultValue,
    parse: (value) => (value === 'true' ? true : value === 'false' ? false : undefined),
    expected: 'true or false',
  });
}

/** Texts separated by commas; none by default. Commas alone are a mistake: no list of hosts allows all of them. */
function list(variable: string, description: string, defaultText: string, expected: string) {
  return setting<readonly string[]>({
    variable,
    description,
    defaultText,
    defaultValue: [],
    parse(value) {
      const parts = value.split(',').map((part) => part.trim());
      const texts = parts.filter((part) => part !== '');
      return texts.length === 0 ? undefined : texts;
    },
    expected,
  });
}

/** Every setting with its environment variable. The README's table is held against this list by a test. */
export const settingDefinitions: { readonly [Name in keyof Settings]: Definition<Settings[Name]> } = {
  checkpoint: text(
    'BLIP_CHECKPOINT',
    'Checkpoint folder in Hugging Face layout, or `OWNER/NAME[@REVISION]` of the Hub.',
    ({ shippedCheckpoint }) => shippedCheckpoint,
    'the one that ships',
  ),
  modelName: setting<string | undefined>({
    variable: 'BLIP_MODEL_NAME',
    description: 'Name of the model in paths and answers.',
    defaultText: 'the task',
    defaultValue: undefined,
    parse: (value) => (isModelName(value) ? value : undefined),
    expected: 'a name of letters, digits, dots, hyphens and underscores',
  }),
  models: setting<readonly ModelChoice[]>({
    variable: 'BLIP_MODELS',
    description: 'Several models in one process, `NAME=CHECKPOINT` separated by commas; in place of the two above.',
    defaultText: 'none',
    defaultValue: [],
    parse: parseModels,
    expected: 'NAME=CHECKPOINT, separated by commas, every name once',
  }),
  imageSize: setting<number | undefined>({
    variable: 'BLIP_IMAGE_SIZE',
    description: 'Side in pixels that images are resized to; position embeddings are interpolated where it is another.',
    defaultText: "the checkpoint's",
    defaultValue: undefined,
    parse: (value) => (/^[1-9]\d{0,3}$/.test(value) ? Number(value) : undefined),
    expected: 'a whole number from 1 to 9999',
  }),
  executionProvider: choice(
    'BLIP_EXECUTION_PROVIDER',
    'Where graphs run: `auto`, `cpu`, `cuda` or `webgpu`. `auto` takes CUDA where it works, else the CPU.',
    executionProviderChoices,
    'auto',
  ),
  workerCount: count(
    'BLIP_WORKERS',
    'Worker threads; each computes one batch at a time. They share the weights.',
    1,
    1,
  ),
  threadsPerWorker: count(
    'BLIP_THREADS',
    'Threads that one batch is computed with.',
    ({ cpuCount }) => cpuCount,
    1,
    'CPUs / workers',
  ),
  maxBatchSize: count(
    'BLIP_MAX_BATCH_SIZE',
    'The most captions, answers, images or texts computed together; more texts about one image are, where memory allows.',
    8,
    1,
  ),
  batchWindowMs: milliseconds(
    'BLIP_BATCH_WINDOW_MS',
    'Milliseconds that a caption waits for others to share its batch.',
    5,
    0,
  ),
  maxQueueSize: count(
    'BLIP_MAX_QUEUE_SIZE',
    'Captions accepted and not answered yet; one more is refused with 429.',
    256,
    1,
  ),
  // Two batches of eight photos of 12 megapixels, one that runs and one that waits; or four images of the largest kind.
  maxDecodedBytes: count(
    'BLIP_MAX_DECODED_BYTES',
    'The most bytes of decoded images (width x height x 3) in the process, until they are answered; more wait.',
    600_000_000,
    1,
  ),
  imageTimeoutMs: milliseconds(
    'BLIP_IMAGE_TIMEOUT_MS',
    'Milliseconds to fetch one image in, redirects included.',
    10_000,
    1,
  ),
  imageMaxBytes: count('BLIP_IMAGE_MAX_BYTES', 'The most bytes of one encoded image.', 20_000_000, 1),
  imageMaxPixels: count('BLIP_IMAGE_MAX_PIXELS', 'The most pixels (width x height) of one image.', 50_000_000, 1),
  imageMaxSide: count('BLIP_IMAGE_MAX_SIDE', 'The most pixels of one side of an image.', 16_384, 1),
  imageMaxRedirects: count('BLIP_IMAGE_MAX_REDIRECTS', 'The most redirects followed for one image.', 3, 0),
  imageHttpsOnly: flag('BLIP_IMAGE_HTTPS_ONLY', 'Refuses http URLs: `true` or `false`.', false),
  imageAllowedHosts: list(
    'BLIP_IMAGE_ALLOWED_HOSTS',
    'The only hosts that images are fetched from, separated by commas; `*.example.com` for all below a domain.',
    'all that are public',
    'hosts separated by commas',
  ),
  imagePrivateHosts: list(
    'BLIP_IMAGE_PRIVATE_HOSTS',
    'Hosts that may have a private, loopback or link-local address, separated by commas; `*` for all.',
    'none',
    'hosts separated by commas',
  ),
  imageApplyExif: flag(
    'BLIP_IMAGE_APPLY_EXIF',
    'Turns images as their EXIF orientation says: `true` or `false`.',
    true,
  ),
  host: setting<string | undefined>({
    variable: 'HOST',
    description: 'Address to listen on. Anything but loopback needs `BLIP_API_TOKENS`.',
    defaultText: '0.0.0.0 with tokens, else 127.0.0.1',
    defaultValue: undefined,
    parse: (value) => value,
    expected: 'an address',
  }),
  port: setting<number>({
    variable: 'PORT',
    description: 'Port to listen on; 0 takes any free one.',
    defaultText: '8080',
    defaultValue: 8080,
    parse: parsePort,
    expected: 'a port number from 0 to 65535',
  }),
  // Vertex AI sets these three for its custom containers.
  vertexPort: setting<number | undefined>({
    variable: 'AIP_HTTP_PORT',
    description: 'On Vertex AI, the port to listen on in place of `PORT`; the platform sets it.',
    defaultText: 'none',
    defaultValue: undefined,
    parse: parsePort,
    expected: 'a port number from 0 to 65535',
  }),
  vertexHealthRoute: urlPath('AIP_HEALTH_ROUTE', 'On Vertex AI, the path that readiness is asked for at.'),
  vertexPredictRoute: urlPath('AIP_PREDICT_ROUTE', 'On Vertex AI, the path that predictions are asked for at.'),
  vertexAuthorizer: choice(
    'BLIP_VERTEX_AUTHORIZER',
    'On Vertex AI, who keeps strangers out: `tokens` (`BLIP_API_TOKENS`) or `platform`, whose requests bring no tokens.',
    ['tokens', 'platform'],
    'tokens',
  ),
  grpcPort: setting<number | undefined>({
    variable: 'BLIP_GRPC_PORT',
    description: 'Port to listen on for gRPC, at the address of `HOST`; 0 takes any free one.',
    defaultText: 'no gRPC',
    defaultValue: undefined,
    parse: parsePort,
    expected: 'a port number from 0 to 65535',
  }),
  grpcTlsCert: path(
    'BLIP_GRPC_TLS_CERT',
    'PEM file with the certificate that gRPC is served with, and its chain.',
    'no TLS',
  ),
  grpcTlsKey: path('BLIP_GRPC_TLS_KEY', 'PEM file with the private key of that certificate.', 'none'),
  grpcTlsClientCa: path(
    'BLIP_GRPC_TLS_CLIENT_CA',
    'PEM file with the authorities whose certificates gRPC clients must show.',
    'clients need none',
  ),
  apiTokens: list(
    'BLIP_API_TOKENS',
    'Bearer tokens that may ask for captions, separated by commas.',
    'none',
    'tokens separated by commas',
  ),
  maxRequestsPerToken: optionalLimit(
    'BLIP_MAX_REQUESTS_PER_TOKEN',
    'Requests of one token that run at a time; one more is refused with 429. Without tokens, of all.',
  ),
  requestTimeoutMs: optionalLimit(
    'BLIP_REQUEST_TIMEOUT_MS',
    'Milliseconds that a request may take; what is later is answered with 504, and dropped if it waits.',
  ),
  lambdaAuthorizer: choice(
    'BLIP_LAMBDA_AUTHORIZER',
    'On AWS Lambda, who keeps strangers out over HTTP: `tokens` (`BLIP_API_TOKENS`) or `platform` (IAM, an authorizer).',
    ['tokens', 'platform'],
    'tokens',
  ),
  maxBodyBytes: count('BLIP_MAX_BODY_BYTES', 'The most bytes of one request body.', 67_108_864, 1),
  drainLimitMs: milliseconds(
    'BLIP_DRAIN_LIMIT_MS',
    'After SIGTERM, the most milliseconds to go on accepting while requests still come.',
    5_000,
    0,
  ),
  logLevel: choice(
    'LOG_LEVEL',
    '`trace`, `debug`, `info`, `warn`, `error`, `fatal` or `silent`.',
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'info',
  ),
};

function parsePort(value: string): number | undefined {
  return /^\d{1,5}$/.test(value) && Number(value) <= 65_535 ? Number(value) : undefined;
}

function isModelName(name: string): boolean {
  return /^(?!\.{1,2}$)[\w.-]{1,100}$/.test(name); // Dots alone are parts of a path.
}

function parseModels(value: string): readonly ModelChoice[] | undefined {
  const models = value.split(',').map((part) => {
    const [name = '', ...rest] = part.split('=');
    return { name: name.trim(), checkpoint: rest.join('=').trim() };
  });
  const names = new Set(models.map(({ name }) => name));
  const valid = models.every(({ name, checkpoint }) => isModelName(name) && checkpoint !== '');
  return valid && names.size === models.length ? models : undefined;
}

/** The settings of each model that one process serves. */
export function settingsOfModels(settings: Settings): readonly Settings[] {
  if (settings.models.length === 0) return [settings];
  return settings.models.map(({ name, checkpoint }) => ({ ...settings, modelName: name, checkpoint }));
}

/** The checkpoint that ships, and how many CPUs there are: what some defaults depend on. */
interface SettingsContext {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly cpuCount: number;
  readonly shippedCheckpoint: string;
}

/**
 * Reads the settings from environment variables. An empty variable counts as absent.
 * @throws HandlerError `SETTINGS_INVALID`, naming the variable. The value is not repeated: it may be a secret.
 */
export function readSettings({ environment, cpuCount, shippedCheckpoint }: SettingsContext): Settings {
  const workers = read(settingDefinitions.workerCount, environment, { cpuCount, shippedCheckpoint });
  const context = { cpuCount: Math.max(1, Math.floor(cpuCount / workers)), shippedCheckpoint };
  const entries = Object.entries(settingDefinitions).map(([name, definition]) => [
    name,
    read(definition as Definition<unknown>, environment, context),
  ]);
  return Object.fromEntries(entries) as unknown as Settings; // One entry per key, each parsed by that key's definition.
}

function read<T>(
  definition: Definition<T>,
  environment: SettingsContext['environment'],
  context: { readonly cpuCount: number; readonly shippedCheckpoint: string },
): T {
  const { variable, defaultValue, parse, expected } = definition;
  const given = environment[variable]?.trim() ?? '';
  if (given === '')
    return typeof defaultValue === 'function' ? (defaultValue as (context: unknown) => T)(context) : defaultValue;
  const value = parse(given);
  if (value === undefined)
    throw new HandlerError('SETTINGS_INVALID', `Expected ${variable} to be ${expected}, got something else.`);
  return value;
}
