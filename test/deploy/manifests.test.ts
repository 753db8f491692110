import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import Handler from '../../app.ts';
import { createServer } from '../../handlers/http/server.ts';
import { logContainerLimits } from '../../handlers/service/container-limits-log.ts';
import { createMetrics } from '../../handlers/service/metrics.ts';
import { readServerSettings, serverSettingDefinitions } from '../../handlers/service/server-settings.ts';
import packageDescription from '../../package.json' with { type: 'json' };
import { anySettingDefinitions, readSettings } from '../../pipeline/settings.ts';
import { violationsOf } from '../support/manifests.ts';
import { allNamed, at, branches, listAt, withPart } from '../support/plain-data.ts';
import { requiresProgram } from '../support/required-program.ts';
import { serverTestSettings, testSettings } from '../support/server.ts';

/** Every manifest of deploy/ for Kubernetes, held to the definitions of its platform and to what the program reads. */

const folder = fileURLToPath(new URL('../../deploy', import.meta.url));

function readManifest(file: string): object {
  return parse(readFileSync(join(folder, file), 'utf8'));
}

/** Other files of YAML: kustomizations, parts that they put into manifests, and SAM's templates for AWS Lambda. */
const isManifest = (file: string) =>
  file.endsWith('.yaml') && !/kustomization\.yaml$|^behind-a-mesh\/|^lambda\//.test(file);

const manifests = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter(isManifest)
  .toSorted()
  .map((file) => ({ file, manifest: readManifest(file) }));

/** Maps with names of the user's own, where every name is valid. */
const freeMaps = /(?:^|\.)(?:labels|annotations|matchLabels|limits|requests|triggers\.\d+\.metadata)$/;
const isFree = (file: string, path: string) =>
  freeMaps.test(path) || (file === 'kubernetes/service.yaml' && path === 'spec.selector');

describe.each(manifests)('$file', ({ file, manifest }) => {
  test('is valid', () => {
    expect(violationsOf(manifest)).toEqual([]);
  });

  test('is not valid with a name that its definition lacks, wherever that stands', () => {
    const closed = [...branches(manifest)].filter(
      ({ path, branch }) => !Array.isArray(branch) && !isFree(file, path.join('.')),
    );
    expect(closed.length).toBeGreaterThan(3);
    const accepted = closed.filter(
      ({ path }) => violationsOf(withPart(manifest, [...path, 'wrongName'], 1)).length === 0,
    );
    expect(accepted.map(({ path }) => path.join('.'))).toEqual([]);
  });

  test('is not valid with a list in place of a value, or of an object', () => {
    const paths = [...branches(manifest)].flatMap(({ path, branch }) =>
      Object.keys(branch).map((name) => [...path, name]),
    );
    expect(paths.length).toBeGreaterThan(10);
    const accepted = paths.filter((path) => violationsOf(withPart(manifest, path, [[0]])).length === 0);
    expect(accepted.map((path) => path.join('.'))).toEqual([]);
  });
});

const containers = manifests.flatMap(({ file, manifest }) =>
  allNamed(manifest, 'containers').map((list) => ({ file, container: at(list, 0) })),
);

/** Variables of others that the program reads. */
const othersVariables = ['HF_HOME'];
const variables = [...Object.values(anySettingDefinitions()), ...Object.values(serverSettingDefinitions)].map(
  ({ variable }) => variable,
);

/** The variables of a list by name. Those of secrets have a token; KServe fills in the name of the InferenceService. */
function environmentOf(list: readonly unknown[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    list.map((entry) => [
      String(at(entry, 'name')),
      at(entry, 'valueFrom') === undefined ? String(at(entry, 'value')).replace('{{.Name}}', 'captioning') : 'token',
    ]),
  );
}

function settingsOf(environment: Readonly<Record<string, string>>) {
  return { ...readSettings({ environment, shippedCheckpoint: 'none' }), ...readServerSettings(environment) };
}

test('there is a container of the service for each platform', () => {
  const files = ['knative/service.yaml', 'kserve/serving-runtime.yaml', 'kubernetes/deployment.yaml'];
  expect(containers.map(({ file }) => file)).toEqual(files);
});

describe.each(containers)('the container of $file', ({ file, container }) => {
  const environment = environmentOf(listAt(container, 'env'));
  const settings = settingsOf(environment);

  test('sets variables that the program reads, to values that it takes', () => {
    const names = Object.keys(environment).filter((name) => !othersVariables.includes(name));
    expect(names.length).toBeGreaterThan(3);
    expect(names.filter((name) => !variables.includes(name))).toEqual([]);
  });

  test('has tokens of a secret, so that it listens to others', () => {
    const tokens = listAt(container, 'env').find((entry) => at(entry, 'name') === 'BLIP_API_TOKENS');
    expect(at(tokens, 'valueFrom')).toEqual({ secretKeyRef: { name: 'blip-handler', key: 'tokens' } });
    expect(settings).toMatchObject({ host: undefined, apiTokens: ['token'] });
  });

  test('listens on the port that its manifest names', () => {
    expect(listAt(container, 'ports').map((port) => at(port, 'containerPort'))).toEqual([settings.port]);
  });

  test.each(['startupProbe', 'readinessProbe', 'livenessProbe'])('has a path and a port for its %s', async (probe) => {
    const server = createServer([new Handler(testSettings())], serverTestSettings());
    const { statusCode } = await server.inject(String(at(container, probe, 'httpGet', 'path')));
    await server.close();
    expect(statusCode).toBe(503); // The model is not loaded. Another path would be 404.
    const ports = [at(container, 'ports', 0, 'name'), at(container, 'ports', 0, 'containerPort')];
    const isKnative = file.startsWith('knative/'); // It asks the one port.
    expect(isKnative ? [undefined] : ports).toContain(at(container, probe, 'httpGet', 'port'));
  });

  test('may do nothing but serve', () => {
    const ofPod = at(readManifest(file), 'spec', 'template', 'spec', 'securityContext');
    const { capabilities, ...rights }: Readonly<Record<string, unknown>> = {
      ...(typeof ofPod === 'object' ? ofPod : {}),
      ...Object(at(container, 'securityContext')),
    };
    expect(capabilities).toEqual({ drop: ['ALL'] });
    expect(rights).toMatchObject({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      runAsUser: 65_532,
      seccompProfile: { type: 'RuntimeDefault' },
    });
  });

  test('writes to volumes alone', () => {
    const mounts = listAt(container, 'volumeMounts').map((mount) => at(mount, 'mountPath'));
    expect(mounts).toEqual(environment['HF_HOME'] === undefined ? ['/tmp'] : [environment['HF_HOME'], '/tmp']);
  });

  test('has memory for all that requests may take, with the threads of its CPUs', () => {
    const { cpu, memory }: Readonly<Record<string, unknown>> = Object(at(container, 'resources', 'limits'));
    const memoryBytes = Number(/^(\d+)Gi$/.exec(String(memory))?.[1]) * 1024 ** 3;
    const warnings: object[] = [];
    const log = { info: () => undefined, warn: (details: object) => void warnings.push(details) };
    logContainerLimits(settings, settings, log, { cpus: Number(cpu), memoryBytes }, 64);
    expect(warnings).toEqual([]);
    logContainerLimits(settings, settings, log, { cpus: Number(cpu), memoryBytes: memoryBytes / 2 }, 64);
    expect(warnings).toHaveLength(1);
  });

  test('is of this version', () => {
    const [image] = listAt(readManifest('kubernetes/kustomization.yaml'), 'images');
    const name = `${at(image, 'newName')}:${at(image, 'newTag')}`;
    expect(name).toBe(`registry.example/blip-handler:${packageDescription.version}`);
    expect([name, at(image, 'name')]).toContain(at(container, 'image'));
  });
});

const environmentIn = (file: string) =>
  environmentOf(allNamed(readManifest(file), 'env').flatMap((list) => listAt(list)));

/** Milliseconds that a process may need to end when BLIP_STOP_LIMIT_MS is over. */
const LINGER_MS = 2_000;

test.each([
  ['kubernetes/deployment.yaml', 'kubernetes/deployment.yaml'],
  ['kserve/inference-service-standard.yaml', 'kserve/serving-runtime.yaml'],
])('a pod of %s ends after the service has stopped', (file, runtime) => {
  const [graceSeconds] = allNamed(readManifest(file), 'terminationGracePeriodSeconds');
  const [preStop] = allNamed(readManifest(file), 'preStop');
  const { stopLimitMs } = settingsOf(environmentIn(runtime));
  const needsMs = Number(at(preStop, 'sleep', 'seconds')) * 1_000 + stopLimitMs + LINGER_MS;
  expect(Number(graceSeconds) * 1_000).toBeGreaterThanOrEqual(needsMs);
});

describe.each([
  ['knative/service.yaml', 'timeoutSeconds'],
  ['kserve/inference-service-knative.yaml', 'timeout'],
])('Knative, in %s', (file, timeout) => {
  const { requestTimeoutMs = Number.POSITIVE_INFINITY, maxQueueSize } = settingsOf(environmentIn(file));

  test('waits for longer than the service computes', () => {
    const [seconds] = allNamed(readManifest(file), timeout);
    expect(Number(seconds) * 1_000).toBeGreaterThan(requestTimeoutMs);
  });

  test('queues before the service refuses', () => {
    const [concurrency] = allNamed(readManifest(file), 'containerConcurrency');
    expect(Number(concurrency)).toBeLessThan(maxQueueSize);
    expect(Number(concurrency)).toBeGreaterThan(0);
  });
});

test.each([
  ['kubernetes/scaled-object.yaml', environmentIn('kubernetes/deployment.yaml')['BLIP_MODEL_NAME']],
  [
    'kserve/inference-service-standard.yaml',
    at(readManifest('kserve/inference-service-standard.yaml'), 'metadata', 'name'),
  ],
])('the metric that %s scales by is one of the service, with the name of its model', async (file, name) => {
  const [query] = allNamed(readManifest(file), 'query');
  const [, metric, model] = /^sum\((\w+)\{model="([\w-]+)"\}\)$/.exec(String(query)) ?? [];
  expect(await createMetrics([]).text()).toContain(`# TYPE ${metric} gauge\n`);
  expect(model).toBe(name);
});

test.each([
  ['kubernetes/deployment.yaml', ['spec', 'template', 'metadata', 'annotations'], 'prometheus.io'],
  ['kserve/serving-runtime.yaml', ['spec', 'annotations'], 'prometheus.kserve.io'],
] as const)('metrics of %s are fetched at their path and port', async (file, path, prefix) => {
  const annotations = at(readManifest(file), ...path);
  const server = createServer([], serverTestSettings(), undefined, Promise.resolve(createMetrics([])));
  const { body } = await server.inject(String(at(annotations, `${prefix}/path`)));
  await server.close();
  expect(body).toContain('# TYPE blip_queue_items gauge');
  expect(at(annotations, `${prefix}/port`)).toBe(String(readServerSettings({}).port));
});

describe('parts that name another', () => {
  const deployment = readManifest('kubernetes/deployment.yaml');
  const port = at(deployment, 'spec', 'template', 'spec', 'containers', 0, 'ports', 0, 'name');

  test.each([
    ['deployment', ['selector', 'matchLabels']],
    ['pod-disruption-budget', ['selector', 'matchLabels']],
    ['service', ['selector']],
    ['network-policy', ['podSelector', 'matchLabels']],
  ] as const)('select the pods of the Deployment: %s', (file, path) => {
    const selector = at(readManifest(`kubernetes/${file}.yaml`), 'spec', ...path);
    expect(selector).toEqual(at(deployment, 'spec', 'template', 'metadata', 'labels'));
  });

  test.each(['horizontal-pod-autoscaler', 'scaled-object'])('scale the Deployment: %s', (file) => {
    const target = at(readManifest(`kubernetes/${file}.yaml`), 'spec', 'scaleTargetRef');
    expect(target).toEqual({ apiVersion: 'apps/v1', kind: 'Deployment', name: at(deployment, 'metadata', 'name') });
  });

  test('lead to the port of the container by its name', () => {
    expect(at(readManifest('kubernetes/service.yaml'), 'spec', 'ports', 0, 'targetPort')).toBe(port);
    expect(at(readManifest('kubernetes/network-policy.yaml'), 'spec', 'ingress', 0, 'ports', 0, 'port')).toBe(port);
  });

  test.each(['knative', 'standard'])('are the runtime of KServe and a format that it has: %s', (mode) => {
    const runtime = readManifest('kserve/serving-runtime.yaml');
    const model = at(readManifest(`kserve/inference-service-${mode}.yaml`), 'spec', 'predictor', 'model');
    expect(at(model, 'runtime')).toBe(at(runtime, 'metadata', 'name'));
    const formats = listAt(runtime, 'spec', 'supportedModelFormats').map((format) => at(format, 'name'));
    expect(formats).toContain(at(model, 'modelFormat', 'name'));
  });

  test('are all in the kustomization, but for the other way to scale', () => {
    const files = readdirSync(join(folder, 'kubernetes')).filter((file) => file !== 'kustomization.yaml');
    const listed = [...listAt(readManifest('kubernetes/kustomization.yaml'), 'resources'), 'scaled-object.yaml'];
    expect(listed.map(String).toSorted()).toEqual(files.toSorted());
  });
});

requiresProgram('kubectl')('kustomize puts in the image, and takes the tokens away where a mesh authenticates', () => {
  const build = (name: string) => {
    const { stdout, stderr, status } = spawnSync('kubectl', ['kustomize', join(folder, name)], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const built = stdout.split(/^---$/m).map((document): object => parse(document));
    expect(built.flatMap((one) => violationsOf(one))).toEqual([]);
    const container = built.flatMap((one) => allNamed(one, 'containers')).map((list) => at(list, 0))[0];
    return { kinds: built.map((one) => at(one, 'kind')), container };
  };
  const { kinds, container } = build('kubernetes');
  const expected = ['Deployment', 'HorizontalPodAutoscaler', 'NetworkPolicy', 'PodDisruptionBudget', 'Service'];
  expect(kinds.toSorted()).toEqual(expected);
  expect(at(container, 'image')).toBe(`registry.example/blip-handler:${packageDescription.version}`);
  const open = environmentOf(listAt(build('behind-a-mesh').container, 'env'));
  const closed = environmentOf(listAt(container, 'env'));
  const { BLIP_API_TOKENS: _, ...rest } = closed;
  expect(open).toEqual({ ...rest, BLIP_AUTHORIZER: 'platform' });
  expect(variables).toContain('BLIP_AUTHORIZER');
});
