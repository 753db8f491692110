/**
 * Measures how often a checkpoint's answers are right, on scenes of draw_scenes.py, through the package's own handler.
 *
 *     npx tsx evaluate.ts CHECKPOINT SCENES [--wrong 10]
 *
 * captioning          `exact`: names every group with its count and colour, and the background, and nothing else (groups
 *                     in any order, with or without an opening); `kinds`: groups whose kind is named; `counts`: groups
 *                     named with the right kind whose count is right; `background`: captions with the right background
 * question-answering  `exact`: answers equal to the right one; also separately for questions of position and for others
 * image-text-to-text  both of these: the figures of captions begin with `caption`, those of answers with `answer`
 * retrieval           `judged`: true and subtly wrong captions on the right side of a match probability of one half;
 *                     `preferred`: pairs whose true one has the higher match probability; `cosine`: the higher similarity
 * clip                `first`: one kind of the scene above nine others that it does not show; `cosine` as above
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Handler, { settingsFromEnvironment } from '../../app.ts';
import { type AskScene, evaluations, figuresOf, type JudgedAnswer, type Scene } from './scene-judge.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { wrong: { type: 'string', default: '0' } },
});
const [checkpoint = '', folder = ''] = positionals;
const scenes = JSON.parse(await readFile(join(folder, 'scenes.json'), 'utf8')) as readonly Scene[];

const model = new Handler({ ...settingsFromEnvironment(), checkpoint });
await model.initialize();
const task = model.model?.checkpoint.task ?? 'captioning';
const ask: AskScene = async ({ file }, inputs) =>
  await model.infer({ img_url: (await readFile(join(folder, file))).toString('base64'), ...inputs });
const results: JudgedAnswer[] = [];
for (let first = 0; first < scenes.length; first += 16) {
  const few = scenes.slice(first, first + 16);
  results.push(...(await Promise.all(few.map((scene, index) => evaluations[task](scene, ask, first + index)))));
}
await model.finalize();

process.stdout.write(`${task}, ${scenes.length} scenes\n`);
for (const [name, [right, of]] of figuresOf(results)) {
  process.stdout.write(`${name.padEnd(20)} ${of === 0 ? 'none' : `${((100 * right) / of).toFixed(1)} %`}\n`);
}
const shownWrong = results.flatMap(({ wrong }, index) =>
  wrong === undefined ? [] : [`${scenes[index]?.file}: ${wrong}`],
);
for (const line of shownWrong.slice(0, Number(values.wrong))) process.stdout.write(`${line}\n`);
