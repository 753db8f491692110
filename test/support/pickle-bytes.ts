/** Parts of pickles: bytes, or opcodes as text of one byte a character. */
export type PicklePart = string | Uint8Array;

export function opcodes(...parts: readonly PicklePart[]): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));
}

/** A whole pickle: PROTO 2, the parts, STOP. */
export function pickle(...parts: readonly PicklePart[]): Buffer {
  return opcodes('\x80\x02', ...parts, '.');
}

export function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return opcodes('X', integers('4', bytes.length), bytes);
}

/** BININT, or LONG1 of eight bytes for larger numbers. */
export function integer(value: number | bigint): Buffer {
  const wide = BigInt.asUintN(64, BigInt(value));
  return BigInt.asIntN(32, wide) === BigInt(value)
    ? opcodes('J', integers('4', BigInt.asUintN(32, wide)))
    : opcodes('\x8a\x08', integers('8', wide));
}

export function tuple(...items: readonly PicklePart[]): Buffer {
  return opcodes('(', ...items, 't');
}

export function sizes(...values: readonly (number | bigint)[]): Buffer {
  return tuple(...values.map(integer));
}

/** A dict; pairs may have equal keys. */
export function dict(pairs: readonly (readonly [key: PicklePart, value: PicklePart])[]): Buffer {
  return opcodes('}(', ...pairs.flat(), 'u');
}

export function stateDict(tensors: Readonly<Record<string, PicklePart>>): Buffer {
  return dict(Object.entries(tensors).map(([name, value]) => [text(name), value]));
}

/** GLOBAL, of a name such as `torch.FloatStorage`. */
export function global(name: string): Buffer {
  const dot = name.lastIndexOf('.');
  return opcodes('c', name.slice(0, dot), '\n', name.slice(dot + 1), '\n');
}

export interface TensorParts {
  readonly storage?: PicklePart;
  readonly storageClass?: string;
  readonly key?: PicklePart;
  readonly elementCount?: PicklePart;
  readonly offset?: PicklePart;
  readonly shape?: PicklePart;
  readonly strides?: PicklePart;
  /** The arguments after requires_grad and the hooks. */
  readonly more?: readonly PicklePart[];
}

/** A call of `_rebuild_tensor_v2`: float32 [2, 3] in storage 0 of 24 bytes, where nothing else is said. */
export function tensor(parts: TensorParts = {}): Buffer {
  const { offset = integer(0), shape = sizes(2, 3), strides = sizes(3, 1), more = [] } = parts;
  const hooks = opcodes(global('collections.OrderedDict'), ')R');
  const values = [parts.storage ?? storage(parts), offset, shape, strides, '\x89', hooks, ...more];
  return opcodes(global('torch._utils._rebuild_tensor_v2'), tuple(...values), 'R');
}

function storage(parts: TensorParts): Buffer {
  const { storageClass = 'torch.FloatStorage', key = text('0'), elementCount = integer(6) } = parts;
  return opcodes(tuple(text('storage'), global(storageClass), key, text('cpu'), elementCount), 'Q');
}

/** Unsigned little-endian integers of these widths; those that are left out are zero. */
export function integers(widths: string, ...values: readonly (number | bigint)[]): Buffer {
  return Buffer.concat(
    widths.split(' ').map((width, index) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(BigInt(values[index] ?? 0));
      return bytes.subarray(0, Number(width));
    }),
  );
}
