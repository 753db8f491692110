/**
 * Measures how often a checkpoint's answers are right, on scenes of draw_scenes.py, through the package's own handler.
 *
 *     npx tsx evaluate.ts CHECKPOINT SCENES [--wrong 10]
 *
 * captioning          `exact`: names every group with its count and colour, and the background, and nothing else (groups
 *                     in any order, with or without an opening); `kinds`: groups whose kind is named; `counts`: groups
 *                     named with the right kind whose count is right; `background`: captions with the right background
 * question-answering  `exact`: answers equal to the right one; also separately for questions of position and for others
 * retrieval           `judged`: true and subtly wrong captions on the right side of a match probability of one half;
 *                     `preferred`: pairs whose true one has the higher match probability; `cosine`: the higher similarity
 * clip                `first`: one kind of the scene above nine others that it does not show; `cosine` as above
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Handler, { settingsFromEnvironment } from '../../app.ts';
import type { Task } from '../../checkpoint/config/architectures.ts';
import type { Outputs } from '../../input_schema.ts';

interface Group {
  readonly kind: string;
  readonly count: number;
  /** As in a caption: "two red cars". */
  readonly words: string;
}

interface Scene {
  readonly file: string;
  readonly background: string;
  readonly groups: readonly Group[];
  readonly question: string;
  readonly answer: string;
  readonly trueCaption: string;
  readonly falseCaption: string;
  /** The error of the wrong one: count, kind, colour or side. */
  readonly wrong: string;
}

interface Kind {
  readonly name: string;
  readonly plural: string;
}

/** Counts that one scene adds to each figure. */
type Counts = Readonly<Record<string, readonly [right: number, of: number]>>;

interface Result {
  readonly counts: Counts;
  /** Shown when the answer to a scene is wrong. */
  readonly wrong?: string | undefined;
}

type Ask = (scene: Scene, inputs: Readonly<Record<string, unknown>>) => Promise<Outputs>;
type Evaluation = (scene: Scene, ask: Ask, index: number) => Promise<Result>;

const kinds = JSON.parse(await readFile(join(import.meta.dirname, 'kinds.json'), 'utf8')) as readonly Kind[];
const numbers: Readonly<Record<string, number>> = { a: 1, an: 1, two: 2, three: 3, four: 4 };
const place = /\b(?:left|right|top|bottom)\b/;
const opening = /^(?:a (?:picture|photo|photography) of|there (?:is|are)) /;

/** The groups and the background that a caption names. WordPiece puts a space before each comma. */
function readCaption(caption: string): { readonly phrases: readonly string[]; readonly background: string } {
  const [, listed = '', background = ''] = /^(.*) on an? (\w+) background$/.exec(caption.replace(opening, '')) ?? [];
  return { phrases: listed.split(/ ?, | and /), background };
}

function kindOf(phrase: string): string | undefined {
  const noun = phrase.split(' ').at(-1);
  return kinds.find(({ name, plural }) => noun === name || noun === plural)?.name;
}

function text(output: unknown): string {
  return String([output].flat(2)[0] ?? '');
}

/** A pair of numbers, out of lists of any depth. */
function pair(output: unknown): readonly [number, number] {
  const [first, second] = [output].flat(3).map(Number);
  return [first ?? Number.NaN, second ?? Number.NaN];
}

const captioning: Evaluation = async (scene, ask) => {
  const caption = text((await ask(scene, {}))['generated_output']);
  const { phrases, background } = readCaption(caption);
  const named = new Map(phrases.map((phrase) => [kindOf(phrase), numbers[phrase.split(' ')[0] ?? '']]));
  const found = scene.groups.filter(({ kind }) => named.has(kind));
  const expected = scene.groups.map(({ words }) => words);
  const sameBackground = background === scene.background;
  const exact = sameBackground && JSON.stringify([...phrases].sort()) === JSON.stringify([...expected].sort());
  return {
    counts: {
      exact: [Number(exact), 1],
      kinds: [found.length, scene.groups.length],
      counts: [found.filter(({ kind, count }) => named.get(kind) === count).length, found.length],
      background: [Number(sameBackground), 1],
    },
    wrong: exact ? undefined : `${caption} | ${expected.join(', ')}, ${scene.background}`,
  };
};

const questionAnswering: Evaluation = async (scene, ask) => {
  const answer = text((await ask(scene, { question: scene.question }))['answer']);
  const exact = answer === scene.answer;
  return {
    counts: {
      exact: [Number(exact), 1],
      [place.test(scene.question) ? 'exact (where)' : 'exact (others)']: [Number(exact), 1],
    },
    wrong: exact ? undefined : `${scene.question} ${answer} | ${scene.answer}`,
  };
};

const retrieval: Evaluation = async (scene, ask) => {
  const answer = await ask(scene, { text: [scene.trueCaption, scene.falseCaption] });
  const [match, mismatch] = pair(answer['match_probability']);
  const [near, far] = pair(answer['cosine_similarity']);
  return {
    counts: {
      judged: [Number(match > 0.5) + Number(mismatch <= 0.5), 2],
      preferred: [Number(match > mismatch), 1],
      cosine: [Number(near > far), 1],
      [`preferred (${scene.wrong})`]: [Number(match > mismatch), 1],
    },
    wrong: match > mismatch ? undefined : `${scene.falseCaption} ${mismatch} | ${scene.trueCaption} ${match}`,
  };
};

const clip: Evaluation = async (scene, ask, index) => {
  const shown = scene.groups.map(({ kind }) => kind);
  const right = shown[index % shown.length] ?? '';
  const others = kinds.map(({ name }) => name).filter((name) => !shown.includes(name));
  const nine = Array.from({ length: 9 }, (_, step) => others[(index * 5 + step) % others.length] ?? '');
  const choices = [right, ...nine];
  const texts = choices.map((kind) => (/^[aeiou]/.test(kind) ? `an ${kind}` : `a ${kind}`));
  const answer = await ask(scene, { text: [...texts, scene.trueCaption, scene.falseCaption] });
  const similarities = [answer['cosine_similarity']].flat(3).map(Number);
  const best = similarities.indexOf(Math.max(...similarities.slice(0, choices.length)));
  const [near, far] = pair(similarities.slice(choices.length));
  return {
    counts: { first: [Number(best === 0), 1], cosine: [Number(near > far), 1] },
    wrong: best === 0 ? undefined : `${choices[best]} | ${shown.join(', ')}`,
  };
};

const evaluations: Readonly<Record<Task, Evaluation>> = {
  captioning,
  'question-answering': questionAnswering,
  retrieval,
  clip,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { wrong: { type: 'string', default: '0' } },
});
const [checkpoint = '', folder = ''] = positionals;
const scenes = JSON.parse(await readFile(join(folder, 'scenes.json'), 'utf8')) as readonly Scene[];

const model = new Handler({ ...settingsFromEnvironment(), checkpoint });
await model.initialize();
const task = model.model?.checkpoint.task ?? 'captioning';
const ask: Ask = async ({ file }, inputs) =>
  await model.infer({ img_url: (await readFile(join(folder, file))).toString('base64'), ...inputs });
const results: Result[] = [];
for (let first = 0; first < scenes.length; first += 16) {
  const few = scenes.slice(first, first + 16);
  results.push(...(await Promise.all(few.map((scene, index) => evaluations[task](scene, ask, first + index)))));
}
await model.finalize();

const figures = new Map<string, [right: number, of: number]>();
for (const { counts } of results) {
  for (const [name, [right, of]] of Object.entries(counts)) {
    const [rightBefore, ofBefore] = figures.get(name) ?? [0, 0];
    figures.set(name, [rightBefore + right, ofBefore + of]);
  }
}
process.stdout.write(`${task}, ${scenes.length} scenes\n`);
for (const [name, [right, of]] of figures) {
  process.stdout.write(`${name.padEnd(20)} ${of === 0 ? 'none' : `${((100 * right) / of).toFixed(1)} %`}\n`);
}
const shownWrong = results.flatMap(({ wrong }, index) =>
  wrong === undefined ? [] : [`${scenes[index]?.file}: ${wrong}`],
);
for (const line of shownWrong.slice(0, Number(values.wrong))) process.stdout.write(`${line}\n`);
