import type { Task } from '../../checkpoint/config/architectures.ts';
import type { Outputs } from '../../input_schema.ts';
import kindList from './kinds.json' with { type: 'json' };

/** Says how right a model's answer about a drawn scene is. evaluate.ts lists the figures; bench/gpu counts them too. */

interface Group {
  readonly kind: string;
  readonly count: number;
  /** As in a caption: "two red cars". */
  readonly words: string;
}

/** A scene of draw_scenes.py, with everything that is true of it. */
export interface Scene {
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

/** How right one answer is. */
export interface JudgedAnswer {
  readonly counts: Counts;
  /** Shown when the answer to a scene is wrong. */
  readonly wrong?: string | undefined;
}

/** Asks a model about the picture of a scene. */
export type AskScene = (scene: Scene, inputs: Readonly<Record<string, unknown>>) => Promise<Outputs>;
export type Evaluation = (scene: Scene, ask: AskScene, index: number) => Promise<JudgedAnswer>;

const kinds: readonly Kind[] = kindList;
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

/** Both of one scene: the caption, and the answer to the question. */
const imageTextToText: Evaluation = async (scene, ask, index) => {
  const caption = await captioning(scene, ask, index);
  const answer = await questionAnswering(scene, ask, index);
  return {
    counts: { ...prefixed('caption', caption.counts), ...prefixed('answer', answer.counts) },
    wrong: [caption.wrong, answer.wrong].filter(Boolean).join('; ') || undefined,
  };
};

function prefixed(prefix: string, counts: Counts): Counts {
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [`${prefix} ${name}`, count]));
}

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

export const evaluations: Readonly<Record<Task, Evaluation>> = {
  captioning,
  'question-answering': questionAnswering,
  'image-text-to-text': imageTextToText,
  retrieval,
  clip,
};

/** Sums the counts of all answers, by figure. */
export function figuresOf(answers: readonly JudgedAnswer[]): ReadonlyMap<string, readonly [right: number, of: number]> {
  const figures = new Map<string, readonly [right: number, of: number]>();
  for (const { counts } of answers) {
    for (const [name, [right, of]] of Object.entries(counts)) {
      const [rightBefore, ofBefore] = figures.get(name) ?? [0, 0];
      figures.set(name, [rightBefore + right, ofBefore + of]);
    }
  }
  return figures;
}
