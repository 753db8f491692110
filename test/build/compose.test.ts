import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { cudaBases } from '../../handlers/command-line/build/image.ts';
import { serverSettingDefinitions } from '../../handlers/service/server-settings.ts';
import { anySettingDefinitions } from '../../pipeline/settings.ts';

/** compose.yaml and build.yaml against the Dockerfile and the settings that they speak of. */

interface ComposeService {
  readonly environment: Readonly<Record<string, string>>;
  readonly ports: readonly string[];
  readonly volumes: readonly string[];
  readonly stop_grace_period: string;
  readonly healthcheck: { readonly test: readonly string[] };
  readonly build: string | { readonly args: { readonly CUDA: keyof typeof cudaBases; readonly BASE: string } };
  readonly read_only: boolean;
  readonly profiles?: readonly string[];
}

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const dockerfile = read('Dockerfile');
const { services } = parse(read('compose.yaml'), { merge: true }) as {
  readonly services: Readonly<Record<'blip-handler' | 'blip-handler-gpu', ComposeService>>;
};

describe.each(Object.entries(services))('the service %s', (_, service) => {
  test('sets variables that are settings', () => {
    const known = [...Object.values(anySettingDefinitions()), ...Object.values(serverSettingDefinitions)];
    const variables = known.map(({ variable }): string => variable);
    expect(Object.keys(service.environment)).toContain('BLIP_API_TOKENS');
    expect(Object.keys(service.environment).filter((name) => ![...variables, 'HF_TOKEN'].includes(name))).toEqual([]);
  });

  test('asks the port and covers the cache of the image', () => {
    const port = /^EXPOSE (\d+)$/m.exec(dockerfile)?.[1];
    expect(service.ports).toEqual([`127.0.0.1:\${PORT:-${port}}:${port}`]);
    expect(service.volumes).toEqual(['huggingface:/cache']);
    expect(dockerfile).toMatch(/^COPY --from=service --chown=65532:65532 \/cache \/cache$/m);
    expect(dockerfile).toContain('HF_HOME=/cache/');
    const [kind, node, , script] = service.healthcheck.test;
    expect([kind, node]).toEqual(['CMD', '/usr/local/bin/node']);
    expect(script).toContain(`fetch('http://127.0.0.1:${port}/v2/health/ready')`);
  });

  test('waits for the end of the server, which cannot write its root', () => {
    const graceMs = Number.parseInt(service.stop_grace_period, 10) * 1_000;
    expect(graceMs).toBeGreaterThan(serverSettingDefinitions.stopLimitMs.defaultValue);
    expect(service.read_only).toBe(true);
  });
});

test('the profile of a card has the base that the command takes', () => {
  const { build, profiles } = services['blip-handler-gpu'];
  expect(profiles).toEqual(['gpu']);
  const args = typeof build === 'string' ? undefined : build.args;
  expect(args?.BASE).toBe(args && cudaBases[args.CUDA]);
});

test('build.yaml, with its comments taken as keys, has keys of the document alone', () => {
  const keys = [...read('build.yaml').matchAll(/^(?:# )?([a-z]+):/gm)].map(([, key]) => key);
  const documented = [...read('docs/how-to/build-an-image.md').matchAll(/^\| (`[a-z`, ]+`) \|/gm)].flatMap(
    ([, cell = '']) => [...cell.matchAll(/[a-z]+/g)].map(([key]) => key),
  );
  expect(keys.length).toBeGreaterThan(5);
  expect(keys.filter((key) => !documented.includes(key ?? ''))).toEqual([]);
});
