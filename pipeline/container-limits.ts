import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { posix } from 'node:path';

/**
 * The limits that a container sets by cgroups, version 1 and 2. Node 20 sees neither a quota of CPU time nor a limit of a
 * cgroup above its own: docs/decisions/0047-kubernetes.md.
 * Sources: Linux, Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst; cgroups(7); proc(5), mountinfo.
 */

export interface ContainerLimits {
  /** CPU time for each second, in CPUs: 1.5 stands for 1.5 s a second. `undefined` where there is no limit. */
  readonly cpus: number | undefined;
  /** `undefined` where there is no limit. */
  readonly memoryBytes: number | undefined;
}

/** A limit of 2^53 bytes and more is none: version 1 spells "no limit" as a number of about 2^63. */
const NO_LIMIT_BYTES = Number.MAX_SAFE_INTEGER;

/** Where one hierarchy of cgroups is mounted. */
interface Hierarchy {
  readonly version: 1 | 2;
  /** Version 1 has a hierarchy for some controllers each; version 2 has one for all. */
  readonly controllers: readonly string[];
  /** The cgroup that is seen at the mount point: that of the container, where it has no namespace of its own. */
  readonly root: string;
  readonly mountPoint: string;
}

/** The CPUs that threads are for: those of the machine, or of the limit where that is lower. A part of a CPU counts. */
export function availableCpus(
  limit: number | undefined = readContainerLimits().cpus,
  machine: number = availableParallelism(),
): number {
  return limit === undefined ? machine : Math.max(1, Math.min(machine, Math.ceil(limit)));
}

/** The memory of the machine, or of the container where that has less. */
export function availableMemoryBytes(): number {
  return Math.min(totalmem(), readContainerLimits().memoryBytes ?? Number.POSITIVE_INFINITY);
}

/**
 * Reads the limits of this process: the lowest of its cgroup and of those above, as far as the container shows them.
 * @param root a folder in front of every path, for tests.
 */
export function readContainerLimits(root = ''): ContainerLimits {
  const hierarchies = readHierarchies(read(`${root}/proc/self/mountinfo`));
  const memberships = read(`${root}/proc/self/cgroup`);
  const lowest = (controller: string, limitIn: (folder: string, version: 1 | 2) => number | undefined) => {
    const limits = hierarchies
      .filter(({ version, controllers }) => version === 2 || controllers.includes(controller))
      .flatMap((hierarchy) =>
        foldersOf(hierarchy, memberships, controller).map((folder) => limitIn(root + folder, hierarchy.version)),
      );
    const known = limits.filter((limit) => limit !== undefined);
    return known.length === 0 ? undefined : Math.min(...known);
  };
  return { cpus: lowest('cpu', cpusIn), memoryBytes: lowest('memory', memoryBytesIn) };
}

/** An empty text for a file that does not exist, as on other systems than Linux. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function readHierarchies(mountInfo: string): readonly Hierarchy[] {
  return mountInfo.split('\n').flatMap((line): readonly Hierarchy[] => {
    const [mount = '', fileSystem = ''] = line.split(' - ');
    const [, , , root = '', mountPoint = ''] = mount.split(' ').map(unescaped);
    const [type, , options = ''] = fileSystem.split(' ');
    if (type !== 'cgroup' && type !== 'cgroup2') return [];
    return [{ version: type === 'cgroup' ? 1 : 2, controllers: options.split(','), root, mountPoint }];
  });
}

/** The kernel writes spaces, tabs, line ends and backslashes of a path as three octal digits. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** The folders of a process's cgroup and of those above it, from the mount point downwards. */
function foldersOf(
  { version, root, mountPoint }: Hierarchy,
  memberships: string,
  controller: string,
): readonly string[] {
  const path = memberships
    .split('\n')
    .map((line) => /^\d+:([^:]*):(.*)$/.exec(line))
    .find((match) => (version === 2 ? match?.[1] === '' : match?.[1]?.split(',').includes(controller)))?.[2];
  if (path === undefined) return [];
  // Seen from a container, a path may lie outside of what is mounted: then the mount point is the container's cgroup.
  const inside = path.startsWith('/..') ? '' : posix.relative(root, path);
  const names = inside === '' || inside.startsWith('..') ? [] : inside.split('/');
  return [mountPoint, ...names.map((_, index) => `${mountPoint}/${names.slice(0, index + 1).join('/')}`)];
}

function cpusIn(folder: string, version: 1 | 2): number | undefined {
  const [quota, period] =
    version === 2
      ? read(`${folder}/cpu.max`).split(' ')
      : [read(`${folder}/cpu.cfs_quota_us`), read(`${folder}/cpu.cfs_period_us`)];
  const cpus = Number(quota) / Number(period);
  return cpus > 0 && Number.isFinite(cpus) ? cpus : undefined; // `max` and -1 stand for no limit.
}

function memoryBytesIn(folder: string, version: 1 | 2): number | undefined {
  const limit = read(`${folder}/${version === 2 ? 'memory.max' : 'memory.limit_in_bytes'}`).trim();
  const bytes = limit === '' ? Number.NaN : Number(limit);
  return bytes < NO_LIMIT_BYTES ? bytes : undefined;
}
