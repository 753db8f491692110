import { CheckpointError } from '../errors.ts';
import { describePickleValue, isKind, type PickleGlobal, type PickleValue } from './pickle-value.ts';

/** The names that a pickle may have. All others are refused. */
export interface KnownGlobals {
  readonly classes: ReadonlySet<string>;
  readonly functions: ReadonlySet<string>;
  /** Classes and functions whose results are left out, with all that is put into them. */
  readonly skipped: ReadonlySet<string>;
}

const PROTOCOL = 2;
const ORDERED_DICT = 'collections.OrderedDict';
const STOP = 0x2e;
/** A tensor takes about 35 operations, and the largest published checkpoints have some thousand tensors. */
const MAX_OPERATIONS = 1_000_000;

/**
 * Reads a pickle with the protocol and the opcodes that `torch.save` writes, without running any of it.
 * Opcodes: CPython's Lib/pickletools.py. Subset: torch/_weights_only_unpickler.py, without the opcodes that make objects.
 * @param path of the pickle, for messages.
 * @throws CheckpointError `CHECKPOINT_PICKLE_REFUSED` when it names a class or function that is not known;
 * `CHECKPOINT_WEIGHTS_INVALID` when it is not a whole pickle of this kind.
 */
export function readPickle(path: string, bytes: Buffer, known: KnownGlobals): PickleValue {
  const machine: Machine = { path, bytes, known, position: 0, stack: [], marks: [], memo: new Map() };
  for (let count = 0; count < MAX_OPERATIONS; count += 1) {
    const opcode = takeUnsigned(machine, 1);
    if (opcode === STOP) return readResult(machine);
    const operation = operations.get(opcode);
    if (operation === undefined) throw refusedOpcode(machine, opcode);
    operation(machine);
  }
  throw invalid(machine, `at most ${MAX_OPERATIONS} operations, got more`);
}

interface Machine {
  readonly path: string;
  readonly bytes: Buffer;
  readonly known: KnownGlobals;
  position: number;
  readonly stack: PickleValue[];
  /** Heights of the stack where a MARK was set. */
  readonly marks: number[];
  readonly memo: Map<number, PickleValue>;
}

type Operation = (machine: Machine) => void;

/** By opcode. The comments have the names of pickletools. */
const operations: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  [0x80, readProtocol], // PROTO
  [0x63, readGlobal], // GLOBAL
  [0x52, reduce], // REDUCE
  [0x81, makeObject], // NEWOBJ
  [0x62, build], // BUILD
  [0x51, (machine) => push(machine, { kind: 'reference', id: pop(machine) })], // BINPERSID
  [0x28, (machine) => machine.marks.push(machine.stack.length)], // MARK
  [0x4e, (machine) => push(machine, null)], // NONE
  [0x88, (machine) => push(machine, true)], // NEWTRUE
  [0x89, (machine) => push(machine, false)], // NEWFALSE
  [0x4b, (machine) => push(machine, takeUnsigned(machine, 1))], // BININT1
  [0x4d, (machine) => push(machine, takeUnsigned(machine, 2))], // BININT2
  [0x4a, (machine) => push(machine, take(machine, 4).readInt32LE())], // BININT
  [0x8a, (machine) => push(machine, readLong(take(machine, takeUnsigned(machine, 1))))], // LONG1
  [0x47, (machine) => push(machine, take(machine, 8).readDoubleBE())], // BINFLOAT
  [0x58, (machine) => push(machine, readText(machine, take(machine, takeUnsigned(machine, 4))))], // BINUNICODE
  [0x29, (machine) => push(machine, { kind: 'tuple', items: [] })], // EMPTY_TUPLE
  [0x85, (machine) => push(machine, { kind: 'tuple', items: popSome(machine, 1) })], // TUPLE1
  [0x86, (machine) => push(machine, { kind: 'tuple', items: popSome(machine, 2) })], // TUPLE2
  [0x87, (machine) => push(machine, { kind: 'tuple', items: popSome(machine, 3) })], // TUPLE3
  [0x74, (machine) => push(machine, { kind: 'tuple', items: popToMark(machine) })], // TUPLE
  [0x5d, (machine) => push(machine, { kind: 'list', items: [] })], // EMPTY_LIST
  [0x61, (machine) => append(machine, [pop(machine)])], // APPEND
  [0x65, (machine) => append(machine, popToMark(machine))], // APPENDS
  [0x7d, (machine) => push(machine, { kind: 'dict', entries: new Map() })], // EMPTY_DICT
  [0x73, (machine) => setItems(machine, popSome(machine, 2))], // SETITEM
  [0x75, (machine) => setItems(machine, popToMark(machine))], // SETITEMS
  [0x71, (machine) => machine.memo.set(takeUnsigned(machine, 1), top(machine))], // BINPUT
  [0x72, (machine) => machine.memo.set(takeUnsigned(machine, 4), top(machine))], // LONG_BINPUT
  [0x68, (machine) => push(machine, recall(machine, takeUnsigned(machine, 1)))], // BINGET
  [0x6a, (machine) => push(machine, recall(machine, takeUnsigned(machine, 4)))], // LONG_BINGET
]);

type ObjectOpcode = readonly [name: string, describe: (machine: Machine) => string];

/** Opcodes that make objects of any class, each with the way to describe the object. */
const objectOpcodes: ReadonlyMap<number, ObjectOpcode> = new Map<number, ObjectOpcode>([
  [0x69, ['INST', readGlobalName]],
  [0x6f, ['OBJ', (machine) => describePickleValue(popToMark(machine)[0] ?? null)]],
  [0x92, ['NEWOBJ_EX', (machine) => describePickleValue(popSome(machine, 3)[0] ?? null)]],
  [0x93, ['STACK_GLOBAL', (machine) => popSome(machine, 2).map(readable).join('.')]],
  [0x82, ['EXT1', (machine) => `extension ${takeUnsigned(machine, 1)}`]],
  [0x83, ['EXT2', (machine) => `extension ${takeUnsigned(machine, 2)}`]],
  [0x84, ['EXT4', (machine) => `extension ${take(machine, 4).readInt32LE()}`]],
]);

function readable(value: PickleValue): string {
  return typeof value === 'string' ? value : describePickleValue(value);
}

function readResult(machine: Machine): PickleValue {
  const [result = null] = machine.stack;
  if (machine.stack.length !== 1 || machine.marks.length !== 0)
    throw invalid(machine, `one value at the end, got ${machine.stack.length}`);
  if (machine.position !== machine.bytes.length)
    throw invalid(machine, `the end of the pickle, got ${machine.bytes.length - machine.position} more bytes`);
  return result;
}

function readProtocol(machine: Machine): void {
  const protocol = takeUnsigned(machine, 1);
  if (protocol !== PROTOCOL)
    throw invalid(machine, `pickle protocol ${PROTOCOL}, the default of torch.save, got ${protocol}`);
}

function readGlobal(machine: Machine): void {
  const name = readGlobalName(machine);
  const { classes, functions, skipped } = machine.known;
  const isKnown = name === ORDERED_DICT || [classes, functions, skipped].some((names) => names.has(name));
  if (!isKnown) throw refused(machine, name);
  push(machine, { kind: 'global', name });
}

/** Reads module and name, a line each. */
function readGlobalName(machine: Machine): string {
  return `${readLine(machine)}.${readLine(machine)}`;
}

function readLine(machine: Machine): string {
  const end = machine.bytes.indexOf('\n', machine.position);
  if (end === -1) throw invalid(machine, 'a line, got the end of the pickle');
  const line = take(machine, end - machine.position);
  take(machine, 1);
  return readText(machine, line);
}

/** Makes an OrderedDict, because the items that follow go into it. Describes any other call. */
function reduce(machine: Machine): void {
  const [callee = null, argumentTuple = null] = popSome(machine, 2);
  if (!isKind(argumentTuple, 'tuple'))
    throw invalid(machine, `a tuple of arguments, got ${describePickleValue(argumentTuple)}`);
  const items = argumentTuple.items;
  if (isKind(callee, 'global') && callee.name === ORDERED_DICT && items.length === 0)
    push(machine, { kind: 'dict', entries: new Map() });
  else if (isKind(callee, 'global') && machine.known.functions.has(callee.name))
    push(machine, { kind: 'call', name: callee.name, arguments: items });
  else if (isSkipped(machine, callee)) push(machine, { kind: 'object', name: callee.name });
  else throw refused(machine, `a call of ${describePickleValue(callee)} with ${items.length} arguments`);
}

/** Describes an object of a class that is left out, and refuses any other. */
function makeObject(machine: Machine): void {
  const [objectClass = null] = popSome(machine, 2);
  if (!isSkipped(machine, objectClass)) throw refused(machine, `NEWOBJ of ${describePickleValue(objectClass)}`);
  push(machine, { kind: 'object', name: objectClass.name });
}

function isSkipped(machine: Machine, value: PickleValue): value is PickleGlobal {
  return isKind(value, 'global') && machine.known.skipped.has(value.name);
}

/** Ignores the attributes of an OrderedDict: `_metadata` of a state dict has the versions of modules. */
function build(machine: Machine): void {
  const [object = null] = popSome(machine, 2);
  if (!isKind(object, 'dict') && !isKind(object, 'object'))
    throw refused(machine, `attributes of ${describePickleValue(object)}`);
  push(machine, object);
}

function append(machine: Machine, items: readonly PickleValue[]): void {
  const list = top(machine);
  if (isKind(list, 'object')) return; // Left out with the object.
  if (!isKind(list, 'list')) throw invalid(machine, `a list to append to, got ${describePickleValue(list)}`);
  for (const item of items) list.items.push(item);
}

/** Python keeps the last of two equal keys without an error, but no state dict of torch.save has two. */
function setItems(machine: Machine, items: readonly PickleValue[]): void {
  const dict = top(machine);
  if (isKind(dict, 'object')) return; // Left out with the object.
  if (!isKind(dict, 'dict')) throw invalid(machine, `a dict to add to, got ${describePickleValue(dict)}`);
  if (items.length % 2 !== 0) throw invalid(machine, `keys and values, got ${items.length} items`);
  for (let index = 0; index < items.length; index += 2) {
    const [key = null, value = null] = items.slice(index, index + 2);
    if (typeof key !== 'string' && typeof key !== 'number')
      throw invalid(machine, `a string or number as key, got ${describePickleValue(key)}`);
    if (dict.entries.has(key)) throw invalid(machine, `each key once, got ${describePickleValue(key)} twice`);
    dict.entries.set(key, value);
  }
}

/** Reads two's complement, little-endian. */
function readLong(bytes: Buffer): number | bigint {
  const hexadecimal = Buffer.from(bytes).reverse().toString('hex');
  const value = BigInt.asIntN(8 * bytes.length, BigInt(`0x0${hexadecimal}`));
  const isExact = value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER);
  return isExact ? Number(value) : value;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function readText(machine: Machine, bytes: Buffer): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', message(machine, 'text in UTF-8, got other bytes'), {
      cause,
    });
  }
}

function take(machine: Machine, byteCount: number): Buffer {
  requireBytes(machine, byteCount);
  machine.position += byteCount;
  return machine.bytes.subarray(machine.position - byteCount, machine.position);
}

/** Reads a little-endian number. A model has tens of thousands, so none of them gets a Buffer of its own. */
function takeUnsigned(machine: Machine, byteCount: 1 | 2 | 4): number {
  requireBytes(machine, byteCount);
  machine.position += byteCount;
  return machine.bytes.readUIntLE(machine.position - byteCount, byteCount);
}

function requireBytes(machine: Machine, byteCount: number): void {
  const left = machine.bytes.length - machine.position;
  if (byteCount > left) throw invalid(machine, `${byteCount} more bytes, got ${left}`);
}

function push(machine: Machine, value: PickleValue): void {
  machine.stack.push(value);
}

function pop(machine: Machine): PickleValue {
  const value = top(machine);
  machine.stack.pop();
  return value;
}

/** Takes values from the stack. Those below the last mark are out of reach. */
function popSome(machine: Machine, count: number): readonly PickleValue[] {
  requireValues(machine, count);
  return machine.stack.splice(machine.stack.length - count);
}

function popToMark(machine: Machine): readonly PickleValue[] {
  const mark = machine.marks.pop();
  if (mark === undefined) throw invalid(machine, 'a mark on the stack, got none');
  return machine.stack.splice(mark);
}

function top(machine: Machine): PickleValue {
  requireValues(machine, 1);
  return machine.stack.at(-1) ?? null;
}

function requireValues(machine: Machine, count: number): void {
  const available = machine.stack.length - (machine.marks.at(-1) ?? 0);
  if (count > available) throw invalid(machine, `${count} values on the stack, got ${available}`);
}

function recall(machine: Machine, index: number): PickleValue {
  const value = machine.memo.get(index);
  if (value === undefined) throw invalid(machine, `a value remembered as ${index}, got none`);
  return value;
}

function refusedOpcode(machine: Machine, opcode: number): CheckpointError {
  const objectOpcode = objectOpcodes.get(opcode);
  if (objectOpcode === undefined)
    return invalid(machine, `an opcode that torch.save writes, got 0x${opcode.toString(16).padStart(2, '0')}`);
  const [name, describe] = objectOpcode;
  return refused(machine, `${name} of ${describe(machine)}`);
}

function refused(machine: Machine, object: string): CheckpointError {
  const shown = JSON.stringify(object).slice(1, -1).slice(0, 200);
  const expected = 'a pickle that names only tensors, their storages and dicts';
  return new CheckpointError(
    'CHECKPOINT_PICKLE_REFUSED',
    message(machine, `${expected}, got ${shown}; nothing was run. Save model.state_dict() alone`),
  );
}

function invalid(machine: Machine, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', message(machine, expected));
}

function message(machine: Machine, expected: string): string {
  return `${machine.path}: byte ${machine.position}: expected ${expected}.`;
}
