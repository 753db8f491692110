import { existsSync } from 'node:fs';
import { withInt8 } from '../int8.ts';
import { pictures, root, type Task } from './requests.ts';
import { runToEnd } from './running-side.ts';
import type { Folders, Side } from './side.ts';

/** A folder beside the checkpoint, converted at the first run: for BLIP-large it takes minutes and 2.3 GB. */
async function convertedForOpenvino(task: Task, checkpoint: string): Promise<string> {
  const folder = `${checkpoint.replace(/\/$/, '')}-openvino`;
  if (existsSync(`${folder}/checked`)) return folder;
  console.log(`Converting ${checkpoint} for OpenVINO …`);
  const args = [`${root}bench/sides/convert_openvino.py`, task, checkpoint, folder, ...pictures];
  await runToEnd({ file: process.env['PYTHON'] ?? 'python', args, environment: { HF_HUB_OFFLINE: '1' } });
  return folder;
}

/** Runs a function with the forms of a checkpoint that the sides need. */
export async function withFolders<T>(
  task: Task,
  checkpoint: string,
  sides: readonly Side[],
  use: (folders: Folders) => Promise<T>,
): Promise<T> {
  const needsOpenvino = sides.some(({ name }) => name.startsWith('OpenVINO'));
  const openvino = needsOpenvino ? await convertedForOpenvino(task, checkpoint) : '';
  return withInt8(checkpoint, pictures, (int8) => use({ checkpoint, ...int8, openvino }));
}
