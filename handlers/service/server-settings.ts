import {
  choice,
  count,
  type EnvironmentVariables,
  inSection,
  isModelName,
  list,
  milliseconds,
  optionalLimit,
  path,
  port,
  readDefinitions,
  type SettingDefinitions,
  setting,
  type UnplacedSettings,
  urlPath,
} from '../../pipeline/setting-definitions.ts';
import { parseHosts, parseOrigins } from './web-origins.ts';

/** A model's name and its checkpoint. */
export interface ModelChoice {
  readonly name: string;
  readonly checkpoint: string;
}

const authorizers = ['tokens', 'platform'] as const;
type Authorizer = (typeof authorizers)[number];

const logFormats = ['auto', 'json', 'text'] as const;
export type LogFormat = (typeof logFormats)[number];

/** Everything that a server needs besides its models: where it listens, who may ask, and what a request may cost. */
export interface ServerSettings {
  /** Several models in one process; empty for the one model that the model's own settings name. */
  readonly models: readonly ModelChoice[];
  /** `undefined` for an address that depends on whether there are tokens. */
  readonly host: string | undefined;
  readonly port: number;
  /** Vertex AI's port, in place of `port`. */
  readonly vertexPort: number | undefined;
  readonly vertexHealthRoute: string | undefined;
  readonly vertexPredictRoute: string | undefined;
  /** `undefined` where gRPC is off. */
  readonly grpcPort: number | undefined;
  /** `undefined` for plain HTTP. */
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  /** `undefined` where clients need no certificates. */
  readonly tlsClientCa: string | undefined;
  readonly grpcTlsCert: string | undefined;
  readonly grpcTlsKey: string | undefined;
  readonly grpcTlsClientCa: string | undefined;
  readonly apiTokens: readonly string[];
  /** Who keeps strangers out: everywhere, on Vertex AI alone, on AWS Lambda alone. */
  readonly authorizer: Authorizer;
  readonly vertexAuthorizer: Authorizer;
  readonly lambdaAuthorizer: Authorizer;
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
  /** `undefined` for any number. */
  readonly maxRequestsPerToken: number | undefined;
  /** `undefined` for any time. */
  readonly requestTimeoutMs: number | undefined;
  readonly maxBodyBytes: number;
  readonly maxHeldBodyBytes: number;
  readonly maxConnections: number;
  /** `undefined` where replicas share no jobs. It may have a password. */
  readonly redisUrl: string | undefined;
  readonly drainLimitMs: number;
  readonly stopLimitMs: number;
  readonly logLevel: string;
  readonly logFormat: LogFormat;
}

const modelDefinitions: UnplacedSettings<Pick<ServerSettings, 'models'>> = {
  models: setting<readonly ModelChoice[]>({
    variable: 'BLIP_MODELS',
    description:
      'Several models in one process, `NAME=CHECKPOINT` separated by commas; in place of `BLIP_CHECKPOINT` and `BLIP_MODEL_NAME`.',
    defaultText: 'none',
    defaultValue: [],
    parse: parseModels,
    expected: 'NAME=CHECKPOINT, separated by commas, every name once',
    form: 'NAME=PLACE,…',
  }),
};

type AddressSettings = Pick<
  ServerSettings,
  'host' | 'port' | 'grpcPort' | Extract<keyof ServerSettings, `tls${string}` | `grpcTls${string}`> | VertexAddress
>;
type VertexAddress = 'vertexPort' | 'vertexHealthRoute' | 'vertexPredictRoute';

const addressDefinitions: UnplacedSettings<AddressSettings> = {
  host: setting<string | undefined>({
    variable: 'HOST',
    description: 'Address to listen on. Anything but loopback needs `BLIP_API_TOKENS` or a platform that authorizes.',
    defaultText: '0.0.0.0 with tokens or a platform, else 127.0.0.1',
    defaultValue: undefined,
    parse: (value) => value,
    expected: 'an address',
    form: 'ADDRESS',
  }),
  port: port('PORT', 'Port to listen on; 0 takes any free one.', 8080),
  grpcPort: port(
    'BLIP_GRPC_PORT',
    'Port to listen on for gRPC, at the address of `HOST`; 0 takes any free one.',
    undefined,
    'no gRPC',
  ),
  tlsCert: path('BLIP_TLS_CERT', 'PEM file with the certificate that HTTPS is served with, and its chain.', 'no TLS'),
  tlsKey: path('BLIP_TLS_KEY', 'PEM file with the private key of that certificate.', 'none'),
  tlsClientCa: path(
    'BLIP_TLS_CLIENT_CA',
    'PEM file with the authorities whose certificates HTTPS clients must show.',
    'clients need none',
  ),
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
  // Vertex AI sets these three variables for its custom containers.
  vertexPort: port(
    'AIP_HTTP_PORT',
    'On Vertex AI, the port to listen on in place of `PORT`; the platform sets it.',
    undefined,
    'none',
  ),
  vertexHealthRoute: urlPath('AIP_HEALTH_ROUTE', 'On Vertex AI, the path that readiness is asked for at.'),
  vertexPredictRoute: urlPath('AIP_PREDICT_ROUTE', 'On Vertex AI, the path that predictions are asked for at.'),
};

type ClientSettings = Pick<
  ServerSettings,
  'apiTokens' | 'authorizer' | 'vertexAuthorizer' | 'lambdaAuthorizer' | 'allowedHosts' | 'allowedOrigins'
>;

const clientDefinitions: UnplacedSettings<ClientSettings> = {
  apiTokens: {
    ...list(
      'BLIP_API_TOKENS',
      'Bearer tokens that may ask for captions, separated by commas.',
      'none',
      'tokens separated by commas',
      'TOKEN,…',
    ),
    isSecret: true,
  },
  authorizer: choice(
    'BLIP_AUTHORIZER',
    'Who keeps strangers out: `tokens` (`BLIP_API_TOKENS`), or a `platform` in front, whose requests bring no tokens of this service.',
    authorizers,
    'tokens',
  ),
  vertexAuthorizer: choice(
    'BLIP_VERTEX_AUTHORIZER',
    '`BLIP_AUTHORIZER` where Vertex AI sets `AIP_HTTP_PORT`, and there alone; gRPC stays closed.',
    authorizers,
    'tokens',
  ),
  lambdaAuthorizer: choice(
    'BLIP_LAMBDA_AUTHORIZER',
    '`BLIP_AUTHORIZER` for HTTP events of AWS Lambda (IAM, an authorizer), and there alone.',
    authorizers,
    'tokens',
  ),
  allowedHosts: setting<readonly string[]>({
    variable: 'BLIP_ALLOWED_HOSTS',
    description:
      'Without tokens, host names besides localhost that requests may be sent to, separated by commas; `*` for all.',
    defaultText: 'localhost alone',
    defaultValue: [],
    parse: parseHosts,
    expected: 'host names without ports, separated by commas',
    form: 'HOST,…',
  }),
  allowedOrigins: setting<readonly string[]>({
    variable: 'BLIP_ALLOWED_ORIGINS',
    description: 'Origins of web pages that may ask, such as `https://example.com`, separated by commas; `*` for all.',
    defaultText: 'none',
    defaultValue: [],
    parse: parseOrigins,
    expected: 'origins such as https://example.com, separated by commas',
    form: 'ORIGIN,…',
  }),
};

type LimitSettings = Omit<ServerSettings, 'models' | keyof AddressSettings | keyof ClientSettings>;

const limitDefinitions: UnplacedSettings<LimitSettings> = {
  maxRequestsPerToken: optionalLimit(
    'BLIP_MAX_REQUESTS_PER_TOKEN',
    'Requests of one token that run at a time; one more is refused with 429. Without tokens, of all.',
  ),
  requestTimeoutMs: optionalLimit(
    'BLIP_REQUEST_TIMEOUT_MS',
    'Milliseconds that a request may take; what is later is answered with 504, and dropped if it waits.',
  ),
  maxBodyBytes: count('BLIP_MAX_BODY_BYTES', 'The most bytes of one request body.', 67_108_864, 1),
  maxHeldBodyBytes: count(
    'BLIP_MAX_HELD_BODY_BYTES',
    'The most bytes of all request bodies that arrive or wait for their answers; one token has at most half, if there are several.',
    536_870_912,
    1,
  ),
  maxConnections: count(
    'BLIP_MAX_CONNECTIONS',
    'The most connections over HTTP, and as many over gRPC; at the maximum, the one that is idle for longest is closed.',
    1_000,
    1,
  ),
  redisUrl: setting<string | undefined>({
    variable: 'BLIP_REDIS_URL',
    description:
      "Redis or Valkey that several replicas share RunPod's jobs in, such as `redis://:PASSWORD@HOST:6379`; `rediss://` for TLS.",
    defaultText: 'each process has its own',
    defaultValue: undefined,
    parse: (value) => (/^rediss?:\/\/\S+$/.test(value) && URL.canParse(value) ? value : undefined),
    expected: 'a URL that begins with redis:// or rediss://',
    form: 'URL',
    isSecret: true,
  }),
  drainLimitMs: milliseconds(
    'BLIP_DRAIN_LIMIT_MS',
    'After SIGTERM, the most milliseconds to go on accepting while requests still come.',
    5_000,
    0,
  ),
  stopLimitMs: milliseconds(
    'BLIP_STOP_LIMIT_MS',
    'After SIGTERM, the most milliseconds until the process ends, whatever still runs.',
    25_000,
    0,
  ),
  logLevel: choice(
    'LOG_LEVEL',
    '`trace`, `debug`, `info`, `warn`, `error`, `fatal` or `silent`.',
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'info',
  ),
  logFormat: choice(
    'LOG_FORMAT',
    'Form of log lines: `json`, `text` for people, or `auto`, which is text on a terminal.',
    logFormats,
    'auto',
  ),
};

/** Every setting of a server with its environment variable. A test compares docs/reference/settings.md with it. */
export const serverSettingDefinitions: SettingDefinitions<ServerSettings> = {
  ...inSection('The model', modelDefinitions),
  ...inSection('The server: where it listens', addressDefinitions),
  ...inSection('The server: who may ask', clientDefinitions),
  ...inSection('The server: limits, end and log', limitDefinitions),
};

function parseModels(value: string): readonly ModelChoice[] | undefined {
  const models = value.split(',').map((part) => {
    const [name = '', ...rest] = part.split('=');
    return { name: name.trim(), checkpoint: rest.join('=').trim() };
  });
  const names = new Set(models.map(({ name }) => name));
  const valid = models.every(({ name, checkpoint }) => isModelName(name) && checkpoint !== '');
  return valid && names.size === models.length ? models : undefined;
}

/**
 * Reads a server's settings from environment variables. An empty variable counts as absent.
 * @throws HandlerError `SETTINGS_INVALID`, naming the variable.
 */
export function readServerSettings(environment: EnvironmentVariables): ServerSettings {
  return readDefinitions(serverSettingDefinitions, environment);
}
