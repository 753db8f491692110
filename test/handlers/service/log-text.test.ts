import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import { isForPeople, lineFormatter } from '../../../handlers/service/log-format.ts';
import { TextLog } from '../../../handlers/service/log-text.ts';

/** Lines of the log as a person reads them. */

const noon = new Date(2026, 0, 1, 12, 0, 1).getTime();
const usual = { level: 30, time: noon, pid: 1, hostname: 'here' };

function textOf(...lines: readonly object[]): string {
  const log = new TextLog({ hasColours: false });
  return lines.map((line) => log.format(`${JSON.stringify({ ...usual, ...line })}\n`)).join('');
}

describe('a line', () => {
  test('of an address can be clicked', () => {
    expect(textOf({ msg: 'Server listening at http://127.0.0.1:8080' })).toBe(
      '12:00:01  Listening at http://127.0.0.1:8080\n',
    );
    expect(textOf({ host: '127.0.0.1', port: 8081, msg: 'gRPC listening' })).toBe(
      '12:00:01  Listening for gRPC at 127.0.0.1:8081\n',
    );
  });

  test('of a request is one, when it is answered', () => {
    const req = { method: 'POST', url: '/generate', host: 'localhost' };
    const end = { reqId: 'a', res: { statusCode: 200, method: 'POST', url: '/generate' }, responseTime: 131.7 };
    const lines = [
      { reqId: 'a', req, msg: 'incoming request' },
      { ...end, msg: 'request completed' },
    ];
    expect(textOf(...lines)).toBe('12:00:01  POST /generate 200 132 ms\n');
    expect(textOf({ req, res: { statusCode: 499 }, responseTime: 12_345, msg: 'client left' })).toBe(
      '12:00:01  POST /generate 499 client left 12.3 s\n',
    );
    const grpc = {
      path: '/inference.GRPCInferenceService/ModelInfer',
      status: 'INVALID_ARGUMENT',
      errorCode: 'INVALID_INPUT',
    };
    expect(textOf({ grpc, tokenDigest: 'abcd', responseTime: 1.26, msg: 'call completed' })).toBe(
      `12:00:01  gRPC ${grpc.path} INVALID_ARGUMENT INVALID_INPUT 1.3 ms\n`,
    );
  });

  test('of other kinds has its fields, and says how bad it is', () => {
    expect(textOf({ signal: 'SIGINT', msg: 'draining' })).toBe('12:00:01  draining signal=SIGINT\n');
    expect(textOf({ level: 40, variable: 'BLIP_X', msg: 'no setting' })).toBe(
      '12:00:01  warning: no setting variable=BLIP_X\n',
    );
    const err = { type: 'Error', message: 'no', stack: 'Error: no\n    at here' };
    expect(textOf({ level: 50, err, msg: 'failed inside' })).toBe(
      '12:00:01  error: failed inside\n    Error: no\n        at here\n',
    );
  });

  test('that is no JSON stays as it is', () => {
    expect(new TextLog({ hasColours: false }).format('words\n')).toBe('words\n');
  });

  test('moves no cursor and colours nothing, whatever a client sends', () => {
    const url = '/\u001b[2J\u009b31m\r\n\u202eadmin';
    const line = textOf({ res: { statusCode: 404, method: 'GET', url }, responseTime: 1, msg: 'request completed' });
    expect(line).toBe('12:00:01  GET /\\u{1b}[2J\\u{9b}31m\\u{d}\\u{a}\\u{202e}admin 404 1.0 ms\n');
    expect(textOf({ message: `x${url}`, msg: `y${url}` }).split('\n')).toHaveLength(2);
  });

  test('has colours that change no word', () => {
    const line = JSON.stringify({ ...usual, level: 50, signal: 'SIGINT', msg: 'ended' });
    const coloured = new TextLog({ hasColours: true }).format(line);
    expect(coloured).not.toBe(stripVTControlCharacters(coloured));
    expect(stripVTControlCharacters(coloured)).toBe(textOf({ level: 50, signal: 'SIGINT', msg: 'ended' }));
  });
});

describe('models', () => {
  const model = {
    model: 'captions',
    task: 'captioning',
    executionProvider: 'cpu',
    precision: 'float32',
    loadMs: 312,
    msg: 'ready',
  };
  const clip = {
    ...model,
    model: 'search',
    task: 'clip',
    executionProvider: 'cuda',
    devices: [0, 1],
    precision: 'float16',
  };

  test('are rows of one table', () => {
    expect(textOf({ ...model, reason: "no CUDA here: onnxruntime's CUDA provider is not installed; more" }, clip)).toBe(
      [
        '12:00:01  MODEL               TASK                DEVICE    PRECISION  LOADED IN',
        '12:00:01  captions            captioning          cpu       float32    312 ms',
        '12:00:01  search              clip                cuda 0,1  float16    312 ms',
        '',
      ].join('\n'),
    );
  });

  test('have a heading again after other lines, and say why a card is not used', () => {
    const reason = 'no CUDA here: this machine has an NVIDIA card, which is not used: no provider';
    const lines = textOf(model, { msg: 'other' }, { ...model, reason }).split('\n');
    expect(lines.filter((line) => line.includes('MODEL'))).toHaveLength(2);
    expect(lines.at(-2)).toMatch(
      / 312 ms +no CUDA here: this machine has an NVIDIA card, which is not used: no provider$/,
    );
  });
});

describe('the format', () => {
  test.each([
    ['auto', true, true],
    ['auto', false, false],
    ['auto', undefined, false],
    ['json', true, false],
    ['text', false, true],
  ] as const)('%s on a terminal (%s) is for people: %s', (format, isTTY, wanted) => {
    expect(isForPeople(format, { isTTY })).toBe(wanted);
    expect(lineFormatter(format, { isTTY, hasColors: () => true }) !== undefined).toBe(wanted);
  });

  test('has colours only where the terminal has', () => {
    const line = JSON.stringify({ ...usual, level: 50, msg: 'ended' });
    const coloured = (isTTY: boolean, hasColors: boolean) =>
      lineFormatter('text', { isTTY, hasColors: () => hasColors })?.(line).includes('\u001b');
    expect([coloured(true, true), coloured(true, false), coloured(false, true)]).toEqual([true, false, false]);
  });
});
