import { optionName, type PlacedSetting, settingSections } from '../../pipeline/setting-definitions.ts';
import { sharedHelp } from './command.ts';
import { modelSettings, serveSettings } from './setting-options.ts';

/** Help texts that follow from the tables of settings. */

type Setting = PlacedSetting<unknown>;

const INDENT = 6;
const MIN_COLUMNS = 50;
const MAX_COLUMNS = 110;

/** @param columns of the terminal. */
export function serveHelp(columns = MAX_COLUMNS): string {
  const settings = serveSettings();
  const sections = settingSections.map((title) => {
    const options = settings.filter(({ section }) => section === title);
    return `${title}\n${options.map((setting) => optionHelp(setting, columns)).join('')}`;
  });
  return `Usage: blip-handler serve [options]      in a checkout: npm start -- [options]

Serves models over HTTP, and over gRPC with --grpc-port, until a signal.

Examples
  blip-handler serve
  blip-handler serve --checkpoint Salesforce/blip-vqa-base --port 3000 --workers 2
  blip-handler serve --model-name=ViT-B-32:openai --port 3000
  blip-handler serve --models captions=Salesforce/blip-image-captioning-base,search=openai/clip-vit-base-patch32
  BLIP_API_TOKENS=my-token blip-handler serve --host 0.0.0.0

Every option is a variable too: --max-beams is BLIP_MAX_BEAMS, and --port is PORT, as --host, --log-level, --log-format
and --aip-… have no BLIP_ in front. Options win over variables, and variables over --env-file. All users of a machine
see options: give tokens as a variable or in a file.

${sections.join('\n')}
Others
${sharedHelp}
docs/reference/settings.md explains all, and names the variables of the Hub (HF_TOKEN, HF_HOME, …) and of proxies.
`;
}

/** The lines about settings in the help of a command that takes those of a model. */
export function modelOptionsHelp(columns = MAX_COLUMNS): string {
  const names = modelSettings()
    .map(({ variable }) => `--${optionName(variable)}`)
    .filter((name) => name !== '--checkpoint');
  return wrap(`The model's settings are options too, which serve --help explains: ${names.join(' ')}`, columns, 0);
}

function optionHelp(setting: Setting, columns: number): string {
  const { variable, form, description, defaultText } = setting;
  const name = optionName(variable);
  const value = form === 'true|false' ? '' : ` ${form}`;
  const usual = form === 'true|false' && defaultText === 'true' ? `on; --no-${name} turns it off` : plain(defaultText);
  return `  --${name}${value}\n${wrap(`${plain(description)} Default: ${usual}.`, columns, INDENT)}`;
}

/** A text of the tables as the terminal shows it: names of variables become options. */
function plain(text: string): string {
  const options = new Map(serveSettings().map(({ variable }) => [variable, `--${optionName(variable)}`]));
  return text
    .replaceAll('`', '')
    .replace(/: true or false\.$/, '.')
    .replace(/\b[A-Z]+(?:_[A-Z]+)*\b/g, (word) => options.get(word) ?? word);
}

/** The text in lines of at most so many columns, each with a line break. */
function wrap(text: string, columns: number, indent: number): string {
  const width = Math.min(Math.max(columns, MIN_COLUMNS), MAX_COLUMNS) - indent;
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.map((line) => `${' '.repeat(indent)}${line}\n`).join('');
}
