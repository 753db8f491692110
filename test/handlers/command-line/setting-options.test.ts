import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { serveHelp } from '../../../handlers/command-line/setting-help.ts';
import {
  completeSwitches,
  modelSettings,
  serveSettings,
  settingOptions,
  setVariables,
} from '../../../handlers/command-line/setting-options.ts';
import { optionName, settingSections } from '../../../pipeline/setting-definitions.ts';
import { thrownBy } from '../../support/thrown.ts';

/** Options of the command line that follow from the tables of settings. */

const settings = serveSettings();
let before: NodeJS.ProcessEnv;
beforeEach(() => {
  before = { ...process.env };
});
afterEach(() => {
  for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
  Object.assign(process.env, before);
});

/** The variables that options set. */
function variablesOf(values: Readonly<Record<string, unknown>>): Readonly<Record<string, string | undefined>> {
  setVariables(values, settings);
  return Object.fromEntries(Object.entries(process.env).filter(([name, value]) => before[name] !== value));
}

test('every variable has an option of its own', () => {
  const names = settings.map(({ variable }) => optionName(variable));
  expect(new Set(names).size).toBe(settings.length);
  expect(Object.keys(settingOptions(settings)).toSorted()).toEqual(names.toSorted());
  expect(names).toEqual(expect.arrayContaining(['checkpoint', 'port', 'workers', 'api-tokens', 'log-format']));
  expect(names.every((name) => /^[a-z0-9]+(-[a-z0-9]+)*$/.test(name))).toBe(true);
  expect(modelSettings().length).toBeLessThan(settings.length);
});

test('the help has every option once, in its section', () => {
  const help = serveHelp(80);
  const sections = settingSections.map((title, index) => {
    const next = settingSections[index + 1] ?? 'Others';
    return help.slice(help.indexOf(`\n${title}\n`), help.indexOf(`\n${next}\n`));
  });
  for (const { variable, section } of settings) {
    const line = new RegExp(`^ {2}--${optionName(variable)}(?: |$)`, 'gm');
    expect([variable, help.match(line)?.length]).toEqual([variable, 1]);
    expect(sections[settingSections.indexOf(section)]).toMatch(line);
  }
});

test('the help names options, in lines that fit the terminal', () => {
  const help = serveHelp(60);
  const options = help.slice(help.indexOf('\nThe model\n'), help.indexOf('\nOthers\n'));
  expect(options).not.toMatch(/`|BLIP_[A-Z]/);
  expect(options.split('\n').filter((line) => line.startsWith('      ') && line.length > 60)).toEqual([]);
});

describe('switches', () => {
  test.each([
    [
      ['--image-https-only', '--port', '1'],
      ['--image-https-only=true', '--port', '1'],
    ],
    [
      ['--image-https-only', 'false'],
      ['--image-https-only', 'false'],
    ],
    [['--image-https-only=false'], ['--image-https-only=false']],
    [['--no-image-apply-exif'], ['--image-apply-exif=false']],
    [
      ['--', '--image-https-only'],
      ['--', '--image-https-only'],
    ],
    [['--no-port'], ['--no-port']],
  ])('%j', (args, wanted) => {
    expect(completeSwitches(args, settings)).toEqual(wanted);
  });
});

describe('values', () => {
  test.each([
    [
      { port: '3000', 'max-beams': '4' },
      { PORT: '3000', BLIP_MAX_BEAMS: '4' },
    ],
    [{ 'api-tokens': ['one', 'two,three'] }, { BLIP_API_TOKENS: 'one,two,three' }],
    [{ 'model-name': 'mine' }, { BLIP_MODEL_NAME: 'mine' }],
    [{ 'model-name': 'ViT-B-32:openai' }, { BLIP_CHECKPOINT: 'ViT-B-32:openai' }],
    [{ 'model-name': 'openai/clip-vit-base-patch32' }, { BLIP_CHECKPOINT: 'openai/clip-vit-base-patch32' }],
  ])('%j', (values, wanted) => {
    expect(variablesOf(values)).toEqual(wanted);
  });

  test('of a secret are not repeated', () => {
    expect(thrownBy(() => variablesOf({ 'api-tokens': [' , '] }))).toMatchObject({
      code: 'SETTINGS_INVALID',
      message: 'Expected --api-tokens to be tokens separated by commas, got something else.',
    });
  });

  test('of a name that is neither one of paths nor of a model are refused', () => {
    expect(thrownBy(() => variablesOf({ 'model-name': 'my blip' }))).toMatchObject({
      message: expect.stringMatching(/^Expected --model-name to be a name of letters/),
    });
  });
});
