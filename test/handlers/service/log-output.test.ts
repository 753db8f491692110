import { expect, test } from 'vitest';
import { LogOutput } from '../../../handlers/service/log-output.ts';

/** Log lines on a disk that is full, a pipe whose reader is slow, and a reader that has gone. */

function failing(code: string): never {
  throw Object.assign(new Error(code), { code });
}

/** An output whose writes do what `answers` say, one after the other, then all succeed. */
function outputOf(answers: readonly ((bytes: Uint8Array) => number)[]) {
  const written: string[] = [];
  const remaining = [...answers];
  const output = new LogOutput(undefined, (bytes) => {
    const count = remaining.shift()?.(bytes) ?? bytes.length;
    written.push(Buffer.from(bytes.subarray(0, count)).toString());
    return count;
  });
  return { output, text: () => written.join('') };
}

test.each(['ENOSPC', 'EIO', 'EPIPE', 'EBADF'])('lines that end in %s are lost, and the next one says so', (code) => {
  const { output, text } = outputOf([() => failing(code), () => failing(code), () => failing(code)]);
  output.write('one\n');
  output.write('two\n'); // Two tries fail: the notice and the line.
  expect(text()).toBe('');
  output.write('three\n');
  const [notice = '', line] = text().split('\n');
  expect(JSON.parse(notice)).toMatchObject({ level: 40, lines: 2, msg: 'log lines lost' });
  expect(line).toBe('three');
});

test('a line is written whole when a pipe takes part of it, or is busy for a moment', () => {
  const { output, text } = outputOf([() => 2, () => failing('EAGAIN'), () => 1]);
  output.write('a line\n');
  expect(text()).toBe('a line\n');
});

test('a pipe that stays busy costs a line, and no more than a moment', () => {
  const { output, text } = outputOf(Array.from({ length: 5 }, () => () => failing('EAGAIN')));
  const startMs = performance.now();
  output.write('lost\n');
  expect(performance.now() - startMs).toBeLessThan(1_000);
  output.write('next\n');
  expect(text()).toMatch(/"lines":1.*\nnext\n$/);
});

test('the beginning of a lost line does not run into the next line', () => {
  const { output, text } = outputOf([() => 3, () => failing('ENOSPC')]);
  output.write('a lost line\n');
  output.write('next\n');
  expect(text()).toMatch(/^a l\n\{.*"lines":1.*\}\nnext\n$/);
});
