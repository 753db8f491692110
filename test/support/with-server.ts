import { afterAll, afterEach, beforeAll, beforeEach, onTestFinished } from 'vitest';
import { type RunningDoors, startDoors } from './grpc.ts';
import { startFunction, type TestFunction } from './lambda.ts';
import {
  type ImageServer,
  type RunningServer,
  type RunningServerOfModels,
  startImageServer,
  startServer,
  startServerOfModels,
  type TestSettings,
} from './server.ts';

/**
 * Servers that end with their tests, whatever becomes of those. `with…` belongs to a file or a `describe`: it starts the
 * server before the first test and closes it after the last. `…ForTest` belongs to the test that calls it.
 */

interface Closable {
  close(): Promise<void>;
}

interface StartOptions {
  readonly initialize?: boolean;
}

/** HTTP around one model, with the tests' settings and these changes. */
export function withServer(changes?: Partial<TestSettings>, options?: StartOptions): RunningServer {
  return duringTests(() => startServer(changes, options));
}

/** HTTP around several models, which are all loaded. */
export function withServerOfModels(
  changes: Partial<TestSettings> & Pick<TestSettings, 'models'>,
): RunningServerOfModels {
  return duringTests(async () => {
    const server = await startServerOfModels(changes);
    await Promise.all(server.models.map((model) => model.initialize()));
    return server;
  });
}

/** HTTP and gRPC around one model. */
export function withDoors(changes?: Partial<TestSettings>, options?: StartOptions): RunningDoors {
  return duringTests(() => startDoors(changes, options));
}

/** The function of AWS Lambda, which loads its models at the first invocation. */
export function withFunction(changes?: Partial<TestSettings>): TestFunction {
  return duringTests(async () => startFunction(changes));
}

export function withImageServer(): ImageServer {
  return duringTests(startImageServer);
}

/** Another server of images for each test, so that each can hold and release its own. */
export function withImageServerForEach(): ImageServer {
  return duringTests(startImageServer, { before: beforeEach, after: afterEach });
}

export function serverForTest(changes?: Partial<TestSettings>, options?: StartOptions): Promise<RunningServer> {
  return duringTest(startServer(changes, options));
}

export function doorsForTest(changes?: Partial<TestSettings>, options?: StartOptions): Promise<RunningDoors> {
  return duringTest(startDoors(changes, options));
}

export function imageServerForTest(): Promise<ImageServer> {
  return duringTest(startImageServer());
}

/** Closes a server when the running test ends. */
async function duringTest<Server extends Closable>(starting: Promise<Server>): Promise<Server> {
  onTestFinished(async () => (await starting).close());
  return await starting;
}

interface Hooks {
  before(action: () => Promise<void>): void;
  after(action: () => Promise<void> | undefined): void;
}

/** Starts a server by the hooks. The object that is returned stands for it, in tests and later hooks alone. */
function duringTests<Server extends Closable>(
  start: () => Promise<Server>,
  { before, after }: Hooks = { before: beforeAll, after: afterAll },
): Server {
  let running: Server | undefined;
  before(async () => {
    running = await start();
  });
  after(() => running?.close());
  const property = (_: object, name: string | symbol): unknown => {
    if (running === undefined) throw new Error(`Expected ${String(name)} to be read in a test, when the server runs.`);
    return Reflect.get(running, name);
  };
  return new Proxy({}, { get: property }) as Server; // Every property is read from the server itself.
}
