import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv, type ValidateFunction } from 'ajv';

/** Checks manifests by the definitions of their platforms, which test/deploy/definitions/make_definitions.py has cut. */

const file = fileURLToPath(new URL('../deploy/definitions/definitions.json', import.meta.url));

type Schema = Readonly<Record<string, unknown>>;

/**
 * An API server drops fields that it does not know, with a warning. Here they are refused, and so is all that lies below
 * a name whose definition was cut off.
 */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== 'object' || schema === null) return schema;
  if ('x-trimmed' in schema) return { not: {} };
  const entries = Object.entries(schema).map(([name, value]) => [name, closed(value)]);
  const isOpen = !('properties' in schema) || 'x-kubernetes-preserve-unknown-fields' in schema;
  return Object.fromEntries(isOpen ? entries : [...entries, ['additionalProperties', false]]);
}

const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
const read: { readonly definitions: Readonly<Record<string, Schema>> } = JSON.parse(readFileSync(file, 'utf8'));
const compiled = new Map<string, ValidateFunction>();

function checkOf(kind: string): ValidateFunction | undefined {
  const schema = read.definitions[kind];
  if (schema === undefined) return undefined;
  const check = compiled.get(kind) ?? ajv.compile(closed(schema) as Schema); // An object stays one.
  compiled.set(kind, check);
  return check;
}

/** What is wrong with a manifest; nothing for a valid one. */
export function violationsOf(manifest: object): readonly string[] {
  const { apiVersion, kind }: { readonly apiVersion?: unknown; readonly kind?: unknown } = manifest;
  const check = checkOf(`${apiVersion} ${kind}`);
  if (check === undefined) return [`there is no definition of ${apiVersion} ${kind}`];
  return check(manifest) ? [] : (check.errors ?? []).map((error) => ajv.errorsText([error]));
}
