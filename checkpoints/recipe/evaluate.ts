/**
 * How true the captions of a checkpoint are, on scenes drawn by draw_scenes.py, through the package's own handler.
 *
 *     npx tsx evaluate.ts CHECKPOINT SCENES [--wrong 10]
 *
 * Prints, over all scenes: `exact`, captions that name every group with its count and colour, and the background, and
 * nothing else (groups in any order, with or without an opening); `kinds`, groups whose kind is named; `counts`, groups
 * named with the right kind whose count is right; `background`, captions with the right background.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import InferlessModel, { settingsFromEnvironment } from '../../app.ts';

interface Group {
  readonly kind: string;
  readonly count: number;
  /** As a caption has it: "two red cars". */
  readonly words: string;
}

interface Scene {
  readonly file: string;
  readonly background: string;
  readonly groups: readonly Group[];
}

interface Kind {
  readonly name: string;
  readonly plural: string;
}

const numbers: Readonly<Record<string, number>> = { a: 1, an: 1, two: 2, three: 3, four: 4 };
const opening = /^(?:a (?:picture|photo|photography) of|there (?:is|are)) /;

/** The groups and the background that a caption names. WordPiece puts a space before each comma. */
function readCaption(caption: string): { readonly phrases: readonly string[]; readonly background: string } {
  const [, listed = '', background = ''] = /^(.*) on an? (\w+) background$/.exec(caption.replace(opening, '')) ?? [];
  return { phrases: listed.split(/ ?, | and /), background };
}

function kindOf(phrase: string, kinds: readonly Kind[]): string | undefined {
  const noun = phrase.split(' ').at(-1);
  return kinds.find(({ name, plural }) => noun === name || noun === plural)?.name;
}

function measure(scene: Scene, caption: string, kinds: readonly Kind[]) {
  const { phrases, background } = readCaption(caption);
  const named = new Map(phrases.map((phrase) => [kindOf(phrase, kinds), numbers[phrase.split(' ')[0] ?? '']]));
  const found = scene.groups.filter(({ kind }) => named.has(kind));
  const sameBackground = background === scene.background;
  const expected = scene.groups.map(({ words }) => words).sort();
  return {
    exact: sameBackground && JSON.stringify([...phrases].sort()) === JSON.stringify(expected),
    background: sameBackground,
    groups: scene.groups.length,
    kinds: found.length,
    counts: found.filter(({ kind, count }) => named.get(kind) === count).length,
  };
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { wrong: { type: 'string', default: '0' } } });
const [checkpoint = '', folder = ''] = positionals;
const scenes = JSON.parse(await readFile(join(folder, 'scenes.json'), 'utf8')) as readonly Scene[];
const kinds = JSON.parse(await readFile(join(import.meta.dirname, 'kinds.json'), 'utf8')) as readonly Kind[];

const model = new InferlessModel({ ...settingsFromEnvironment(), checkpoint });
await model.initialize();
const captions: string[] = [];
for (let first = 0; first < scenes.length; first += 32) {
  const pictures = await Promise.all(scenes.slice(first, first + 32).map(({ file }) => readFile(join(folder, file))));
  const answer = await model.infer({ img_url: pictures.map((picture) => picture.toString('base64')) });
  captions.push(...[answer.generated_output ?? []].flat());
}
await model.finalize();

const results = scenes.map((scene, index) => ({ scene, caption: captions[index] ?? '', ...measure(scene, captions[index] ?? '', kinds) }));
const share = (part: number, whole: number) => `${((100 * part) / whole).toFixed(1)} %`;
const sum = (count: (result: (typeof results)[number]) => number) => results.reduce((total, result) => total + count(result), 0);
process.stdout.write(
  [
    `scenes      ${scenes.length}`,
    `exact       ${share(sum(({ exact }) => Number(exact)), scenes.length)}`,
    `kinds       ${share(sum(({ kinds }) => kinds), sum(({ groups }) => groups))}`,
    `counts      ${share(sum(({ counts }) => counts), sum(({ kinds }) => kinds))}`,
    `background  ${share(sum(({ background }) => Number(background)), scenes.length)}`,
    '',
  ].join('\n'),
);
for (const { scene, caption } of results.filter(({ exact }) => !exact).slice(0, Number(values.wrong))) {
  process.stdout.write(`${scene.file}: ${caption} | ${scene.groups.map(({ words }) => words).join(', ')}, ${scene.background}\n`);
}
