import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import Handler, { settingsFromEnvironment } from '../../app.ts';
import { isNews } from '../../pipeline/cuda/diagnosis.ts';
import type { TensorAnswer } from '../../pipeline/infer-request.ts';
import { forOneRequest } from '../../pipeline/sessions/weights-choices.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { readInferenceRequest } from '../../protocol/inference-request.ts';
import { inferenceResponse } from '../../protocol/inference-response.ts';
import { shippedFile } from '../../shipped-files.ts';
import { failureLine } from '../service/failure.ts';
import { abortOnSignals, endWithReader, readArguments, sharedHelp } from './command.ts';
import { isHelpAsked } from './help-asked.ts';
import { modelOptionsHelp } from './setting-help.ts';
import { completeSwitches, modelSettings, settingOptions, setVariables } from './setting-options.ts';

/** One request without a server. Prints the answer to stdout and progress to stderr. */

function usage(): string {
  return `Usage: blip-handler invoke [options]      in a checkout: npm run -s invoke -- …

Examples
  blip-handler invoke --img_url photo.jpg --checkpoint Salesforce/blip-image-captioning-base
  blip-handler invoke --img_url photo.jpg --question 'how many dogs are there?' --checkpoint Salesforce/blip-vqa-base

  --checkpoint PLACE   checkpoint folder, or OWNER/NAME[@REVISION] of the Hub (else BLIP_CHECKPOINT, else the one that ships)
  --img_url SOURCE     URL, data: URI or file of an image; repeat for several (else a picture that ships)
  --text TEXT          captioning and BLIP-2: a prompt to continue; retrieval and CLIP: a text to compare
  --question TEXT      question answering and BLIP-2: a question about the image
  --context TEXT       BLIP-2: earlier questions and answers; or repeat: a question, its answer, the next question …
  --parameters JSON    generation parameters, such as '{"num_beams": 3}'
  --request FILE       a whole request body of the Open Inference Protocol, in place of the five above
${sharedHelp}
${modelOptionsHelp(process.stdout.columns)}`;
}

interface Options {
  readonly img_url?: readonly string[] | undefined;
  readonly text?: readonly string[] | undefined;
  readonly question?: readonly string[] | undefined;
  readonly context?: readonly string[] | undefined;
  readonly parameters?: string | undefined;
  readonly request?: string | undefined;
}

/** Reads the options. Those that are settings are variables by then. */
function readOptions(): Options {
  const settings = modelSettings();
  const { values } = readArguments({
    args: completeSwitches(process.argv.slice(2), settings),
    options: {
      ...settingOptions(settings),
      img_url: { type: 'string', multiple: true },
      text: { type: 'string', multiple: true },
      question: { type: 'string', multiple: true },
      context: { type: 'string', multiple: true },
      parameters: { type: 'string' },
      request: { type: 'string' },
    },
  });
  setVariables(values, settings);
  return values;
}

function readBody(options: Options): unknown {
  if (options.request === undefined) return bodyFrom(options);
  return parseJson(options.request, readFile(options.request).toString('utf8'));
}

function bodyFrom({
  img_url: sources = [shippedFile('examples/apples-and-cat.png')],
  text,
  question,
  context,
  parameters,
}: Options): unknown {
  const tensor = (name: string, data: readonly string[] | undefined) =>
    data === undefined ? [] : [{ name, shape: [data.length], datatype: 'BYTES', data }];
  return {
    inputs: [
      ...tensor('img_url', sources.map(readSource)),
      ...tensor('text', text),
      ...tensor('question', question),
      ...tensor('context', context),
    ],
    ...(parameters === undefined ? {} : { parameters: parseJson('--parameters', parameters) }),
  };
}

/** Reads files for the handler, which takes no paths, so that no request can read the server's disk. */
function readSource(source: string): string {
  if (source.startsWith('file:')) return dataUri(pathOf(source));
  return /^[a-z][a-z0-9+.-]+:/i.test(source) ? source : dataUri(source);
}

function pathOf(fileUrl: string): string {
  try {
    return fileURLToPath(fileUrl);
  } catch (cause) {
    throw new HandlerError('INVALID_REQUEST', 'Expected a file: URL of this machine, got another.', { cause });
  }
}

function dataUri(path: string): string {
  return `data:;base64,${readFile(path).toString('base64')}`;
}

function readFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new HandlerError('INVALID_REQUEST', `Expected a readable file, got none at ${path}.`, { cause });
  }
}

function parseJson(sourceName: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new HandlerError('INVALID_REQUEST', `Expected JSON in ${sourceName}, got text that does not parse.`, {
      cause,
    });
  }
}

function printLine(line: string): void {
  process.stderr.write(`${line}\n`);
}

function printLoaded(handler: Handler): void {
  const { model } = handler;
  if (model === undefined) return;
  for (const warning of model.checkpoint.config.warnings) printLine(`warning: ${warning}`);
  const { executionProvider, reason } = model.executionProvider;
  const place = `on ${executionProvider} in ${model.precision}${isNews(reason) ? ` (${reason})` : ''}`;
  printLine(`Ready in ${ms(model.loadMs)} (model ${ms(model.modelLoadMs)}) ${place}.`);
}

function printTimes({ times, generatedTokens }: TensorAnswer): void {
  const stages = Object.entries(times).map(([stage, time]) => `${stage.replace(/Ms$/, '')} ${ms(time)}`);
  const perSecond = Math.round((generatedTokens * 1000) / Math.max(1, times.computeMs));
  const tokens = generatedTokens > 0 ? `; ${generatedTokens} tokens, ${perSecond} tokens/s` : '';
  printLine(`${stages.join(', ')}${tokens}; ${ms(performance.now())} since process start.`);
}

function ms(time: number): string {
  return `${time < 10 ? time.toFixed(1) : Math.round(time)} ms`;
}

async function invoke(options: Options, unread: AbortSignal): Promise<void> {
  const settings = settingsFromEnvironment();
  const handler = new Handler({ ...settings, weights: forOneRequest(settings.weights) });
  const body = readBody(options);
  if (settings.weights === 'packed-when-idle')
    printLine('BLIP_WEIGHTS=packed-when-idle has no effect: a process for one request is never idle.');
  printLine(`Loading ${handler.settings.checkpoint} …`);
  const signal = AbortSignal.any([abortOnSignals(), unread]);
  await handler.initialize({ onNotice: printLine, signal });
  try {
    printLoaded(handler);
    const { id, inputs, outputs } = readInferenceRequest(body, handler.schema);
    const answer = await handler.inferTensors({ inputs, outputs, signal });
    printTimes(answer);
    process.stdout.write(`${JSON.stringify(inferenceResponse(handler.name ?? '', id, answer))}\n`);
  } finally {
    await handler.finalize();
  }
}

const unread = new AbortController();
endWithReader(() => unread.abort());
try {
  if (isHelpAsked()) process.stdout.write(usage());
  else await invoke(readOptions(), unread.signal);
} catch (error) {
  process.stdout.write(failureLine(error));
  process.exitCode = unread.signal.aborted ? 0 : 1;
}
