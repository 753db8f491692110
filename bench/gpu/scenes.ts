import { readFileSync } from 'node:fs';
import type Handler from '../../app.ts';
import { evaluations, figuresOf, type JudgedAnswer, type Scene } from '../../checkpoints/recipe/scene-judge.ts';
import type { Outputs } from '../../input_schema.ts';

/** Drawn scenes through one checkpoint on each side of a comparison: how right its answers are, and how many are equal. */

type Provider = 'cpu' | 'cuda';
type Precision = 'float32' | 'float16' | 'bfloat16';

/** The first one is what the others are compared with. */
const sides: readonly (readonly [Provider, Precision])[] = [
  ['cpu', 'float32'],
  ['cuda', 'float32'],
  ['cuda', 'float16'],
  ['cuda', 'bfloat16'],
];

/** Scenes that are asked about at a time: CLIP's have 13 items each, and the queue has room for 256. */
const TOGETHER = 16;

interface SceneAnswers {
  readonly judged: readonly JudgedAnswer[];
  /** By scene. */
  readonly outputs: readonly Outputs[];
}

/**
 * @param folder with the pictures and scenes.json of draw_scenes.py.
 * @param open starts the checkpoint.
 */
export async function compareScenes(
  folder: string,
  open: (provider: Provider, precision: Precision) => Promise<Handler>,
  report: (values: Readonly<Record<string, unknown>>) => void,
): Promise<void> {
  const scenes: readonly Scene[] = JSON.parse(readFileSync(`${folder}/scenes.json`, 'utf8'));
  let expected: SceneAnswers | undefined;
  for (const [provider, precision] of sides) {
    const handler = await open(provider, precision);
    const answers = await answersAbout(scenes, folder, handler).finally(() => handler.finalize());
    expected ??= answers;
    const rights = [...figuresOf(answers.judged)].map(([name, [right, of]]) => [name, (100 * right) / of]);
    const figures = Object.fromEntries(rights);
    report({ provider, precision, scenes: scenes.length, ...agreement(expected, answers), figures });
  }
}

async function answersAbout(scenes: readonly Scene[], folder: string, handler: Handler): Promise<SceneAnswers> {
  const task = handler.model?.checkpoint.task ?? 'captioning';
  const [judged, outputs]: [JudgedAnswer[], Outputs[]] = [[], []];
  const judge = async (scene: Scene, index: number) => {
    const picture = readFileSync(`${folder}/${scene.file}`).toString('base64');
    const ask = async (_: Scene, inputs: Readonly<Record<string, unknown>>) => {
      outputs[index] = await handler.infer({ img_url: picture, ...inputs });
      return outputs[index];
    };
    judged[index] = await evaluations[task](scene, ask, index);
  };
  for (let from = 0; from < scenes.length; from += TOGETHER)
    await Promise.all(scenes.slice(from, from + TOGETHER).map((scene, offset) => judge(scene, from + offset)));
  return { judged, outputs };
}

/** Percent of scenes with equal texts, where answers have texts, and the largest difference of numbers. */
function agreement(expected: SceneAnswers, actual: SceneAnswers) {
  let [equal, largest] = [0, 0];
  const hasTexts = flat(expected.outputs[0] ?? {}).some((value) => typeof value === 'string');
  for (const [index, outputs] of actual.outputs.entries()) {
    const [ours, theirs] = [flat(outputs), flat(expected.outputs[index] ?? {})];
    const texts = (values: readonly unknown[]) => JSON.stringify(values.filter((value) => typeof value === 'string'));
    equal += Number(texts(ours) === texts(theirs));
    for (const [position, value] of ours.entries())
      if (typeof value === 'number') largest = Math.max(largest, Math.abs(value - Number(theirs[position])));
  }
  return { ...(hasTexts ? { equalPercent: (100 * equal) / actual.outputs.length } : {}), largest };
}

function flat(outputs: Outputs): readonly unknown[] {
  return Object.values(outputs).flat(3);
}
