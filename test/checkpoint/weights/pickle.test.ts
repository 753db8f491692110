import { describe, expect, test } from 'vitest';
import { readPickle } from '../../../checkpoint/weights/pickle.ts';
import { isKind, type PickleValue } from '../../../checkpoint/weights/pickle-value.ts';
import {
  dict,
  global,
  integer,
  integers,
  opcodes,
  type PicklePart,
  pickle,
  text,
  tuple,
} from '../../support/pickle-bytes.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const known = {
  classes: new Set(['torch.FloatStorage']),
  functions: new Set(['torch._utils._rebuild_tensor_v2']),
  skipped: new Set(['argparse.Namespace']),
};

function read(...parts: readonly PicklePart[]): PickleValue {
  return readPickle('data.pkl', pickle(...parts), known);
}

function expectInvalid(bytes: Uint8Array, ...parts: readonly string[]): void {
  const action = () => readPickle('data.pkl', Buffer.from(bytes), known);
  expectCheckpointError(action, 'CHECKPOINT_WEIGHTS_INVALID', ['data.pkl: byte ', ': expected ', ...parts]);
}

function expectRefused(bytes: Uint8Array, asked: string): void {
  const action = () => readPickle('data.pkl', Buffer.from(bytes), known);
  expectCheckpointError(action, 'CHECKPOINT_PICKLE_REFUSED', [
    'expected a pickle that names only tensors, their storages and dicts',
    `got ${asked}; nothing was run.`,
  ]);
}

describe('values', () => {
  test.each<[string, PicklePart, PickleValue]>([
    ['None', 'N', null],
    ['True', '\x88', true],
    ['False', '\x89', false],
    ['a byte', 'K\xff', 255],
    ['two bytes', 'M\x34\x12', 0x1234],
    ['four bytes', 'J\xff\xff\xff\xff', -1],
    ['a long of no bytes', '\x8a\x00', 0],
    ['a long of one byte', '\x8a\x01\x80', -128],
    ['a long of six bytes', opcodes('\x8a\x06', integers('6', 2 ** 40)), 2 ** 40],
    ['the largest exact number', integer(2n ** 53n - 1n), 2 ** 53 - 1],
    ['the smallest exact number', integer(1n - 2n ** 53n), 1 - 2 ** 53],
    ['a number that is not exact', integer(2n ** 53n), 2n ** 53n],
    ['a long of 255 bytes', opcodes('\x8a\xff', Buffer.alloc(254), '\x01'), 2n ** 2032n],
    ['a float', opcodes('G', Buffer.from('3ee4f8b588e368f1', 'hex')), 1e-5],
    ['text', text('größe\0'), 'größe\0'],
    ['an empty tuple', ')', { kind: 'tuple', items: [] }],
    ['a tuple of one', 'N\x85', { kind: 'tuple', items: [null] }],
    ['a tuple of two', 'N\x88\x86', { kind: 'tuple', items: [null, true] }],
    ['a tuple of three', 'N\x88\x89\x87', { kind: 'tuple', items: [null, true, false] }],
    ['a tuple of four', '(NNNNt', { kind: 'tuple', items: [null, null, null, null] }],
    ['a list', ']N\x61(\x88\x89e', { kind: 'list', items: [null, true, false] }],
    ['something outside', 'K\x05Q', { kind: 'reference', id: 5 }],
    ['a class', global('torch.FloatStorage'), { kind: 'global', name: 'torch.FloatStorage' }],
  ])('%s', (_, part, value) => {
    expect(read(part)).toEqual(value);
  });

  test('a dict keeps the order of its keys, and any names', () => {
    const value = read('}', text('b'), 'K\x01s(', text('__proto__'), 'K\x02', integer(0), 'K\x03u');
    expect(value).toEqual({
      kind: 'dict',
      entries: new Map<string | number, number>([
        ['b', 1],
        ['__proto__', 2],
        [0, 3],
      ]),
    });
  });

  test('an OrderedDict is a dict, and its attributes are left out', () => {
    const value = read(global('collections.OrderedDict'), ')R', text('a'), 'Ns', dict([[text('_metadata'), '}']]), 'b');
    expect(value).toEqual({ kind: 'dict', entries: new Map([['a', null]]) });
  });

  test('a call is described, not made', () => {
    const value = read(global('torch._utils._rebuild_tensor_v2'), 'K\x01K\x02\x86R');
    expect(value).toEqual({ kind: 'call', name: 'torch._utils._rebuild_tensor_v2', arguments: [1, 2] });
  });

  test('a remembered value is recalled, by one byte or by four', () => {
    expect(read(text('a'), 'q\x07r\x01\x02\x03\x04h\x07j\x01\x02\x03\x04\x87')).toEqual({
      kind: 'tuple',
      items: ['a', 'a', 'a'],
    });
  });

  test('a list that has itself is read', () => {
    const list = read(']q\x00h\x00a');
    expect(list).toMatchObject({ kind: 'list', items: [{ kind: 'list' }] });
  });
});

describe('plain data that is left out', () => {
  const object = { kind: 'object', name: 'argparse.Namespace' };

  test.each<[string, PicklePart]>([
    ['NEWOBJ', opcodes(global('argparse.Namespace'), ')\x81')],
    ['REDUCE', opcodes(global('argparse.Namespace'), 'N\x85R')],
    ['attributes', opcodes(global('argparse.Namespace'), ')\x81}b')],
    ['entries', opcodes(global('argparse.Namespace'), ')\x81(', text('a'), 'Nu')],
    ['items', opcodes(global('argparse.Namespace'), ')\x81Na(NNe')],
  ])('%s becomes a name', (_, part) => {
    expect(read(part)).toEqual(object);
  });

  test('what it has of other classes is refused all the same', () => {
    expectRefused(
      pickle(global('argparse.Namespace'), ')\x81}', text('run'), global('posix.system'), 'sb'),
      'posix.system',
    );
  });
});

describe('a pickle that would run code', () => {
  test.each<[string, PicklePart, string]>([
    ['os.system', opcodes(global('posix.system'), text('true'), '\x85R'), 'posix.system'],
    ['os.system on Windows', global('nt.system'), 'nt.system'],
    ['eval', global('builtins.eval'), 'builtins.eval'],
    ['getattr, which the rest can be had with', global('builtins.getattr'), 'builtins.getattr'],
    ['a module of torch', global('torch.nn.modules.linear.Linear'), 'torch.nn.modules.linear.Linear'],
    ['torch.load, which would unpickle more', global('torch.serialization.load'), 'torch.serialization.load'],
    ['a name that begins as a known one', global('torch.FloatStorage.__init__'), 'torch.FloatStorage.__init__'],
    ['a name in another module', global('evil.collections.OrderedDict'), 'evil.collections.OrderedDict'],
    ['a name with a line break that would end the message', 'cposix\r\x1b[0m\nsystem\n', 'posix\\r\\u001b[0m.system'],
    ['a name of Object.prototype', 'c\nconstructor\n', '.constructor'],
    ['STACK_GLOBAL', opcodes(text('posix'), text('system'), '\x93'), 'STACK_GLOBAL of posix.system'],
    ['STACK_GLOBAL of no names', 'NN\x93', 'STACK_GLOBAL of null.null'],
    ['INST', '(iposix\nsystem\n', 'INST of posix.system'],
    ['OBJ', opcodes('(', global('torch.FloatStorage'), 'o'), 'OBJ of torch.FloatStorage'],
    ['NEWOBJ', opcodes(global('torch.FloatStorage'), ')\x81'), 'NEWOBJ of torch.FloatStorage'],
    ['NEWOBJ_EX', opcodes(global('torch.FloatStorage'), ')}\x92'), 'NEWOBJ_EX of torch.FloatStorage'],
    ['EXT1', '\x82\x05', 'EXT1 of extension 5'],
    ['EXT2', '\x83\x05\x01', 'EXT2 of extension 261'],
    ['EXT4', '\x84\x05\x00\x00\x01', 'EXT4 of extension 16777221'],
    ['REDUCE of a class', opcodes(global('torch.FloatStorage'), ')R'), 'a call of torch.FloatStorage with 0 arguments'],
    [
      'REDUCE of what is no function',
      opcodes(text('posix.system'), ')R'),
      'a call of \\"posix.system\\" with 0 arguments',
    ],
    [
      'an OrderedDict of something',
      opcodes(global('collections.OrderedDict'), 'N\x85R'),
      'a call of collections.OrderedDict with 1 arguments',
    ],
    [
      'BUILD of a tensor',
      opcodes(global('torch._utils._rebuild_tensor_v2'), ')R}b'),
      'attributes of a call of torch._utils._rebuild_tensor_v2',
    ],
    ['BUILD of a class', opcodes(global('torch.FloatStorage'), '}b'), 'attributes of torch.FloatStorage'],
  ])('%s is refused by name', (_, part, object) => {
    expectRefused(pickle(part), object);
  });

  test('a name of many kilobytes is cut in the message', () => {
    const bytes = pickle('c', 'x'.repeat(100_000), '\nsystem\n');
    const action = () => readPickle('data.pkl', bytes, known);
    const error = expectCheckpointError(action, 'CHECKPOINT_PICKLE_REFUSED', ['xxx']);
    expect(error.message.length).toBeLessThan(400);
  });
});

describe('a pickle that is not whole', () => {
  const whole = pickle(dict([[text('name'), tuple(integer(2 ** 40), 'M\x01\x02', '\x88')]]), 'q\x00');

  test('is refused wherever it is cut off', () => {
    expect(readPickle('data.pkl', whole, known)).toMatchObject({ kind: 'dict' });
    for (let length = 0; length < whole.length; length += 1)
      expectInvalid(whole.subarray(0, length), 'more bytes, got ');
  });

  test.each<[string, PicklePart, string]>([
    ['text longer than the pickle', 'X\xff\xff\xff\xffabc', '4294967295 more bytes, got 4'],
    ['a long longer than the pickle', '\x8a\xffabc', '255 more bytes, got 4'],
    ['a class without an end of line', 'ctorch', 'a line, got the end of the pickle'],
    ['a class without a name', 'ctorch\nFloatStorage', 'a line, got the end of the pickle'],
    ['text that is not UTF-8', 'X\x02\x00\x00\x00\xc3\x28', 'text in UTF-8, got other bytes'],
    ['a class that is not UTF-8', 'c\xff\nsystem\n', 'text in UTF-8, got other bytes'],
  ])('is refused: %s', (_, part, problem) => {
    expectInvalid(pickle(part), problem);
  });
});

describe('a pickle that torch.save would not write', () => {
  test.each<[string, Uint8Array, string]>([
    ['protocol 4', opcodes('\x80\x04N.'), 'pickle protocol 2, the default of torch.save, got 4'],
    ['protocol 255', opcodes('\x80\xffN.'), 'pickle protocol 2, the default of torch.save, got 255'],
    ['POP', pickle('N0'), 'an opcode that torch.save writes, got 0x30'],
    ['DUP, with which values grow', pickle(']2'), 'an opcode that torch.save writes, got 0x32'],
    ['FRAME', pickle('\x95', Buffer.alloc(8)), 'an opcode that torch.save writes, got 0x95'],
    ['MEMOIZE', pickle('N\x94'), 'an opcode that torch.save writes, got 0x94'],
    ['PERSID of text', pickle('Pstorage\n'), 'an opcode that torch.save writes, got 0x50'],
    ['LONG of text', pickle('L5L\n'), 'an opcode that torch.save writes, got 0x4c'],
    ['LONG4 of two gigabytes', pickle('\x8b\xff\xff\xff\x7f'), 'an opcode that torch.save writes, got 0x8b'],
    ['NEXT_BUFFER', pickle('\x97'), 'an opcode that torch.save writes, got 0x97'],
    ['nothing at the end', pickle(), 'one value at the end, got 0'],
    ['two values at the end', pickle('NN'), 'one value at the end, got 2'],
    ['a mark at the end', pickle('N('), 'one value at the end, got 1'],
    ['bytes after the end', Buffer.concat([pickle('N'), Buffer.from('N.')]), 'the end of the pickle, got 2 more bytes'],
    ['an empty stack', pickle('\x85'), '1 values on the stack, got 0'],
    ['values below a mark', pickle('NN(\x86'), '2 values on the stack, got 0'],
    ['a mark that is not there', pickle('Nt'), 'a mark on the stack, got none'],
    ['a value that was not remembered', pickle('h\x09'), 'a value remembered as 9, got none'],
    ['a value that was remembered elsewhere', pickle('Nq\x09j\x09\x01\x00\x00'), 'a value remembered as 265, got none'],
    ['nothing to remember', pickle('q\x09'), '1 values on the stack, got 0'],
    [
      'arguments that are no tuple',
      pickle(global('torch._utils._rebuild_tensor_v2'), ']R'),
      'a tuple of arguments, got a list of 0',
    ],
    ['an item for what is no list', pickle('}Na'), 'a list to append to, got a dict of 0'],
    ['items for what is no list', pickle(')(Ne'), 'a list to append to, got a tuple of 0'],
    ['an entry for what is no dict', pickle(']NNs'), 'a dict to add to, got a list of 0'],
    ['entries for what is no dict', pickle(text('x'.repeat(90)), '(NNu'), `a dict to add to, got "${'x'.repeat(79)}`],
    ['a key without a value', pickle('}(Nu'), 'keys and values, got 1 items'],
    ['a key that is a list', pickle('}]Ns'), 'a string or number as key, got a list of 0'],
    ['a key that is None', pickle('}NNs'), 'a string or number as key, got null'],
    [
      'a key twice',
      pickle(
        dict([
          [text('a'), 'N'],
          [text('a'), 'N'],
        ]),
      ),
      'each key once, got "a" twice',
    ],
    ['a key again, later', pickle('}', text('a'), 'Ns', text('a'), 'Ns'), 'each key once, got "a" twice'],
    ['a million values', pickle(Buffer.alloc(1_000_000, 'N')), 'at most 1000000 operations, got more'],
    ['a million marks', pickle(Buffer.alloc(1_000_000, '(')), 'at most 1000000 operations, got more'],
  ])('is refused: %s', (_, bytes, problem) => {
    expectInvalid(bytes, problem);
  });

  test('lists of lists that would be a million million when written out take no more room than they have', () => {
    const levels = Array.from({ length: 12 }, (_, index) =>
      opcodes('](', `h${String.fromCharCode(index)}`.repeat(10), `eq${String.fromCharCode(index + 1)}`),
    );
    const value = read('(]q\x00', ...levels, 't');
    expect(isKind(value, 'tuple') && value.items.length).toBe(13);
  });
});
