import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** Changes of what is good, the same in every run: whoever draws from one seed in one order gets the same. */

/** A whole number from 0 to less than the end. */
export type Below = (end: number) => number;

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export function belowOf(seed: number): Below {
  const generator = xoroshiro128plus(seed);
  return (end) => uniformInt(generator, 0, end - 1);
}

export function pick<Value>(values: readonly Value[], below: Below): Value {
  const [first] = values.slice(below(values.length));
  if (first === undefined) throw new Error('Expected something to pick from, got none.');
  return first;
}

/**
 * Copies bytes with some of them changed, cut out or doubled, or with the end cut off. Half of the changes are in the
 * first 100 bytes.
 */
export function mutateBytes(original: Uint8Array, below: Below): Buffer {
  let bytes: Buffer = Buffer.from(original);
  for (let change = below(4); change >= 0 && bytes.length > 0; change -= 1) {
    const at = below(below(2) === 0 ? bytes.length : Math.min(100, bytes.length));
    const length = 1 + below(16);
    const kind = below(8);
    if (kind === 0) bytes = bytes.subarray(0, at);
    else if (kind === 1) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    else if (kind === 3) bytes.writeUInt8([0, 127, 128, 255][below(4)] ?? 0, at);
    else bytes.writeUInt8(below(256), at);
  }
  return bytes;
}

const repeated = (text: string, end: string, depth: number) => `${text.repeat(depth)}1${end.repeat(depth)}`;

/** JSON that is seldom expected, as text: some of it no JavaScript value is written as. */
const hostileTexts: readonly string[] = [
  ...['null', 'true', 'false', '0', '-0', '-1', '1.5', '7', '""', '"x"', '[]', '{}', '[[]]', '[null]', '[{}]', '[""]'],
  ...['1e999', '-1e999', '1e308', '5e-324', '2147483648', '4294967296', '9007199254740993', '18446744073709551616'],
  ...['"\\u0000"', '"\\ud800"', '"\\udfff x"', '"🐈"', '"NaN"', '"1"', '"null"', '"__proto__"', '"toString"'],
  ...['"http://169.254.169.254/"', '"http://[::1]:1/"', '"file:///etc/passwd"', '"data:,"', '"data:;base64,AAAA"'],
  ...['{"__proto__":{"polluted":1}}', '{"constructor":{"prototype":{"polluted":1}}}', '{"length":1}', '{"b64":"AAAA"}'],
  ...['{"toString":1,"valueOf":1}', '{"then":1}', '{"toJSON":1}', '[1,"x",null,{}]', '1 ,', '1 1', "'x'", 'NaN', '01'],
  repeated('[', ']', 50),
  repeated('[', ']', 20_000),
  repeated('{"a":', '}', 20_000),
  `"${'x'.repeat(100_000)}"`,
  `"${'dog '.repeat(5_000)}"`,
  `[${'0,'.repeat(3_000)}0]`,
];

const hostileKeys = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '', 'length', 'x', '\0'];

type Path = readonly (string | number)[];

/** Where there is something in a value, itself aside. */
function pathsIn(value: Json, path: Path = []): readonly Path[] {
  if (typeof value !== 'object' || value === null) return [path];
  const inner = Array.isArray(value)
    ? value.flatMap((item: Json, index) => pathsIn(item, [...path, index]))
    : Object.entries(value).flatMap(([key, item]) => pathsIn(item, [...path, key]));
  return path.length === 0 ? inner : [path, ...inner];
}

function valueAt(value: Json, path: Path): Json {
  // The value has that path.
  return path.reduce<Json>((inner, key) => (inner as Record<string | number, Json>)[key] ?? null, value);
}

/**
 * The text of a good value with one to three changes of its structure: values of another type or size, missing, twice,
 * wrapped or in another's place, and keys that mean something to objects.
 */
export function mutateJson(good: Json, below: Below): string {
  const root = structuredClone({ good }) as { good: Json };
  const texts: string[] = [];
  for (let change = below(3); change >= 0; change -= 1) {
    const paths = pathsIn(root.good);
    const path = paths.length === 0 ? ['good'] : ['good', ...pick(paths, below)];
    const key = path[path.length - 1] ?? 'good';
    // A path ends in an object or list.
    const holder = valueAt(root as Json, path.slice(0, -1)) as Record<string | number, Json>;
    const value = holder[key] ?? null;
    const kind = below(12);
    if (kind === 0) delete holder[key];
    else if (kind === 1) holder[key] = [value, value];
    else if (kind === 2) holder[key] = { [pick(hostileKeys, below)]: value };
    else if (kind === 3) holder[key] = Array.isArray(value) ? (value[0] ?? null) : [value];
    else if (kind === 4) holder[key] = typeof value === 'string' ? value.length : JSON.stringify(value);
    else if (kind === 5) holder[key] = structuredClone(valueAt(good, pick([[], ...pathsIn(good)], below)));
    else if (kind === 6) holder[`\u0001${texts.push(JSON.stringify(pick(hostileKeys, below))) - 1}`] = value;
    else holder[key] = `\u0002${texts.push(pick(hostileTexts, below)) - 1}`;
  }
  // Some texts are no values, and some keys no object can be given: they are put in where a sign stands for them.
  const written = JSON.stringify(root.good) ?? '';
  return written.replace(/"\\u000[12](\d+)"/g, (_, index) => texts[Number(index)] ?? 'null');
}
