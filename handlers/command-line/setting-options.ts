import { isModelName, optionName, type PlacedSetting, parseSetting } from '../../pipeline/setting-definitions.ts';
import { anySettingDefinitions } from '../../pipeline/settings.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { serverSettingDefinitions } from '../service/server-settings.ts';

/** Options that are settings: each variable of the tables has one, and wins over it. */

type Setting = PlacedSetting<unknown>;
type OptionValues = Readonly<Record<string, unknown>>;

/** The settings of a model. */
export function modelSettings(): readonly Setting[] {
  return Object.values<Setting>(anySettingDefinitions());
}

/** The settings of a server and its models. */
export function serveSettings(): readonly Setting[] {
  return [...modelSettings(), ...Object.values<Setting>(serverSettingDefinitions)];
}

/** The options for `parseArgs`. Lists may be repeated in place of commas. */
export function settingOptions(
  settings: readonly Setting[],
): Readonly<Record<string, { readonly type: 'string'; readonly multiple: boolean }>> {
  return Object.fromEntries(
    settings.map((setting) => [optionName(setting.variable), { type: 'string', multiple: isList(setting) }]),
  );
}

/** Arguments in which every switch has its value: `--image-https-only` alone is true, `--no-image-https-only` false. */
export function completeSwitches(args: readonly string[], settings: readonly Setting[]): string[] {
  const switches = settings.filter(({ form }) => form === 'true|false').map(({ variable }) => optionName(variable));
  const end = args.indexOf('--');
  return args.map((argument, index) => {
    if (end !== -1 && index > end) return argument;
    const name = switches.find((each) => argument === `--${each}` || argument === `--no-${each}`);
    if (name === undefined) return argument;
    if (argument === `--no-${name}`) return `--${name}=false`;
    return ['true', 'false'].includes(args[index + 1] ?? '') ? argument : `--${name}=true`;
  });
}

/**
 * Sets the variables of this process that the options name, so that whatever reads a setting finds it there.
 * @throws HandlerError `SETTINGS_INVALID`, naming the option.
 */
export function setVariables(values: OptionValues, settings: readonly Setting[]): void {
  const chosen = withPlaceOfModel(values);
  requireOneChoice(chosen);
  for (const setting of settings) {
    const name = optionName(setting.variable);
    const given = chosen[name];
    if (given === undefined) continue;
    const text = (Array.isArray(given) ? given.join(',') : String(given)).trim();
    if (text === '') throw new HandlerError('SETTINGS_INVALID', `Expected a value of --${name}, got an empty one.`);
    parseSetting(setting, `--${name}`, text);
    process.env[setting.variable] = text;
  }
  if (chosen['checkpoint'] !== undefined) delete process.env['BLIP_MODELS']; // It would win over the option.
}

/**
 * `--model-name` with a name of open_clip or of the Hub chooses the checkpoint, as in CLIP-API-service: `ViT-B-32:openai`,
 * `openai/clip-vit-base-patch32`. No name in paths has their colon or slash.
 */
function withPlaceOfModel(values: OptionValues): OptionValues {
  const { 'model-name': name, ...others } = values;
  if (typeof name !== 'string' || isModelName(name) || !/[:/]/.test(name)) return values;
  if ('checkpoint' in others)
    throw new HandlerError('SETTINGS_INVALID', `Expected --checkpoint or --model-name=${name}, got both.`);
  return { ...others, checkpoint: name };
}

/** @throws HandlerError `SETTINGS_INVALID` for an option that would have no effect beside another one. */
function requireOneChoice(values: OptionValues): void {
  const other = ['checkpoint', 'model-name'].find((name) => name in values);
  if (!('models' in values) || other === undefined) return;
  throw new HandlerError('SETTINGS_INVALID', `Expected --models or --${other}, got both: --models names each model.`);
}

function isList({ form }: Setting): boolean {
  return form.endsWith('…');
}
