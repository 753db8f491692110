import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Metafile } from 'esbuild';

/** The licences of all works of others that lie in dist/, as one text. A package without a text of its licence is an error. */

/** Something that others made, with the licence under which it ships. */
export interface ThirdPartyWork {
  readonly name: string;
  readonly version?: string;
  /** As its authors name it: an SPDX expression. */
  readonly licence: string;
  /** The texts of the licence, with the copyright; several where the work has several. */
  readonly texts: readonly string[];
}

/** Names of files that hold a licence or a notice that must be passed on. */
const licenceFileName = /^(?:licen[sc]e|copying|notice|unlicense)(?:[.-].*)?$/i;

/** npm's description of a package, as far as it matters here. */
interface PackageDescription {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
}

/**
 * The packages whose code is in the bundle.
 * @param licencesFolder has a text, NAME.txt, for each package that has no file of its licence.
 * @throws Error that names the packages without a text.
 */
export function bundledPackages(
  { outputs }: Pick<Metafile, 'outputs'>,
  licencesFolder: string,
): readonly ThirdPartyWork[] {
  const inputs = Object.values(outputs).flatMap((output) => Object.entries(output.inputs));
  const paths = inputs.filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([path]) => path);
  const folders = new Set(paths.flatMap((path) => packageFolderOf(path) ?? []));
  const works = [...folders].map((folder) => packageWork(folder, licencesFolder));
  const bare = works.filter(({ texts }) => texts.length === 0);
  if (bare.length > 0) {
    const names = bare.map(({ name }) => name).join(', ');
    throw new Error(`Expected a licence text of ${names}, got none. Add NAME.txt to ${licencesFolder}.`);
  }
  return works.toSorted((one, other) => one.name.localeCompare(other.name));
}

/** The folder of the package that a bundled file belongs to; `undefined` for files of our own. */
function packageFolderOf(path: string): string | undefined {
  const [, folder] = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(resolve(path).replaceAll('\\', '/')) ?? [];
  return folder;
}

/** A package as a work, from its folder. */
export function packageWork(folder: string, licencesFolder: string): ThirdPartyWork {
  const { name, version, license } = JSON.parse(
    readFileSync(join(folder, 'package.json'), 'utf8'),
  ) as PackageDescription; // npm installed it.
  const ownTexts = readdirSync(folder)
    .filter((file) => licenceFileName.test(file))
    .sort()
    .map((file) => readFileSync(join(folder, file), 'utf8'));
  const isBare = ownTexts.length === 0;
  return {
    name,
    version,
    licence: license ?? 'see below',
    texts: isBare ? addedTexts(name, licencesFolder) : ownTexts,
  };
}

function addedTexts(name: string, licencesFolder: string): readonly string[] {
  const path = join(licencesFolder, `${name.replace('@', '').replace('/', '-')}.txt`);
  return existsSync(path) ? [readFileSync(path, 'utf8')] : [];
}

/** Works that ship and are no packages in the bundle. */
export function shippedWorks(root: string): readonly ThirdPartyWork[] {
  const text = (path: string) => readFileSync(join(root, path), 'utf8');
  const apache = text('build/licences/apache-2.0.txt');
  const creativeCommons = text('build/licences/creative-commons-attribution-4.0.txt');
  const drawn = 'in the pictures of examples/';
  return [
    {
      name: "Jina's protocol (jina, docarray), changed",
      licence: 'Apache-2.0',
      texts: [text('handlers/grpc/proto/jina/LICENSE')],
    },
    { name: "gRPC's protocols of health and reflection, by the gRPC authors", licence: 'Apache-2.0', texts: [apache] },
    { name: "Open Inference Protocol, by KServe's authors", licence: 'Apache-2.0', texts: [apache] },
    { name: `Noto Emoji, Google, ${drawn}`, licence: 'Apache-2.0', texts: [apache] },
    { name: `Fluent Emoji, Microsoft, ${drawn}`, licence: 'MIT', texts: [text('build/licences/fluent-emoji.txt')] },
    { name: `Twemoji, Twitter and others, ${drawn}`, licence: 'CC-BY-4.0', texts: [creativeCommons] },
    { name: `EmojiTwo (Emoji One 2), ${drawn}`, licence: 'CC-BY-4.0', texts: [creativeCommons] },
  ];
}

/** The whole text. A text that several works share stands once, below the names of all of them. */
export function thirdPartyText(works: readonly ThirdPartyWork[]): string {
  const worksByTexts = new Map<string, ThirdPartyWork[]>();
  for (const work of works) {
    const texts = work.texts.map((each) => each.replaceAll('\r\n', '\n').trim()).join('\n\n');
    worksByTexts.set(texts, [...(worksByTexts.get(texts) ?? []), work]);
  }
  const sections = [...worksByTexts].map(([texts, sharing]) => `${sharing.map(titleOf).join('\n')}\n\n${texts}\n`);
  const intro =
    'blip-handler contains these works of others. Each list of names is followed by the text of its licence.';
  return [`${intro}\n`, ...sections].join(`\n${'-'.repeat(80)}\n\n`);
}

function titleOf({ name, version, licence }: ThirdPartyWork): string {
  return `${name}${version === undefined ? '' : ` ${version}`} (${licence})`;
}
