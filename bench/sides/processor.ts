import { existsSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** Instructions that decide how fast products of matrices are, slowest first, as Linux names them. */
const instructions = [
  'avx2',
  'avx_vnni',
  'avx512f',
  'avx512_vnni',
  'avx512_bf16',
  'avx512_fp16',
  'amx_tile',
  'amx_int8',
  'amx_bf16',
  'amx_fp16',
];

/** One line on the processor, without which no figure means anything. */
export function describeProcessor(): string {
  const description = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : '';
  const flags = new Set(/^flags\s*:(.*)$/m.exec(description)?.[1]?.trim().split(' '));
  const known = flags.size === 0 ? 'instructions unknown' : instructions.filter((name) => flags.has(name)).join(', ');
  return `${cpus().length} cores of ${cpus()[0]?.model.trim() ?? 'an unknown processor'}: ${known}`;
}
