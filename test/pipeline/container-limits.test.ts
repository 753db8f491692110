import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { availableCpus, availableMemoryBytes, readContainerLimits } from '../../pipeline/container-limits.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** Limits of containers, in the forms that the kernel, Docker, Podman and Kubernetes give their files. */

const NONE = { cpus: undefined, memoryBytes: undefined };

/** A line of mountinfo; `root` is the cgroup that the mount point shows. */
function mount(type: 'cgroup' | 'cgroup2', mountPoint: string, root = '/', controllers = ''): string {
  return `36 25 0:31 ${root} ${mountPoint} rw,nosuid shared:9 - ${type} cgroup rw,${controllers}\n`;
}

const version2 = {
  'proc/self/cgroup': '0::/kubepods.slice/pod1/main\n',
  'proc/self/mountinfo': `${mount('cgroup2', '/sys/fs/cgroup')}41 25 0:5 / /proc rw - proc proc rw\n`,
};

describe('of version 2', () => {
  const folder = 'sys/fs/cgroup/kubepods.slice/pod1/main';

  test.each<readonly [cpuMax: string, cpus: number | undefined]>([
    ['200000 100000\n', 2],
    ['150000 100000\n', 1.5],
    ['5000 10000\n', 0.5],
    ['max 100000\n', undefined],
    ['', undefined],
    ['nonsense\n', undefined],
    ['0 100000\n', undefined],
    ['100000 0\n', undefined],
  ])('the quota %j is %s CPUs', (cpuMax, cpus) => {
    expect(readContainerLimits(temporaryFolder({ ...version2, [`${folder}/cpu.max`]: cpuMax }))).toEqual({
      ...NONE,
      cpus,
    });
  });

  test.each<readonly [memoryMax: string, memoryBytes: number | undefined]>([
    ['4294967296\n', 4_294_967_296],
    ['max\n', undefined],
    ['', undefined],
  ])('the memory %j is %s bytes', (memoryMax, memoryBytes) => {
    const files = { ...version2, [`${folder}/memory.max`]: memoryMax };
    expect(readContainerLimits(temporaryFolder(files))).toEqual({ ...NONE, memoryBytes });
  });

  test('the lowest of nested groups holds, whichever group has it', () => {
    const limits = (main: string, pod: string, slice: string) =>
      readContainerLimits(
        temporaryFolder({
          ...version2,
          [`${folder}/cpu.max`]: `${main} 100000\n`,
          'sys/fs/cgroup/kubepods.slice/pod1/cpu.max': `${pod} 100000\n`,
          'sys/fs/cgroup/kubepods.slice/cpu.max': `${slice} 50000\n`,
        }),
      ).cpus;
    expect(limits('max', '300000', 'max')).toBe(3);
    expect(limits('200000', '300000', 'max')).toBe(2);
    expect(limits('400000', 'max', '50000')).toBe(1);
  });

  test("are found at the mount point, which is the container's own group in a namespace", () => {
    const files = {
      'proc/self/cgroup': '0::/\n',
      'proc/self/mountinfo': mount('cgroup2', '/sys/fs/cgroup'),
      'sys/fs/cgroup/cpu.max': '250000 100000\n',
      'sys/fs/cgroup/memory.max': '1073741824\n',
    };
    const expected = { cpus: 2.5, memoryBytes: 1_073_741_824 };
    expect(readContainerLimits(temporaryFolder(files))).toEqual(expected);
    const outside = { ...files, 'proc/self/cgroup': '0::/../../elsewhere\n' };
    expect(readContainerLimits(temporaryFolder(outside))).toEqual(expected);
  });
});

describe('of version 1', () => {
  const mounts = [
    mount('cgroup', '/sys/fs/cgroup/cpu,cpuacct', '/docker/abc', 'cpu,cpuacct'),
    mount('cgroup', '/sys/fs/cgroup/memory', '/docker/abc', 'memory'),
    mount('cgroup', '/sys/fs/cgroup/cpuset', '/docker/abc', 'cpuset'),
  ].join('');
  const memberships =
    '9:cpuset:/docker/abc\n5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n';
  const version1 = { 'proc/self/cgroup': memberships, 'proc/self/mountinfo': mounts };

  test('are read at the mount point, whose root is the container', () => {
    const files = {
      ...version1,
      'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '150000\n',
      'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '536870912\n',
    };
    expect(readContainerLimits(temporaryFolder(files))).toEqual({ cpus: 1.5, memoryBytes: 536_870_912 });
  });

  test('are none where the quota is -1 and the memory the largest number', () => {
    const files = {
      ...version1,
      'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '-1\n',
      'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
    };
    expect(readContainerLimits(temporaryFolder(files))).toEqual(NONE);
  });

  test('hold beside version 2 in a hybrid, and below a group of their own', () => {
    const files = {
      'proc/self/cgroup': '2:cpu:/docker/abc/inner\n0::/docker/abc\n',
      'proc/self/mountinfo': mount('cgroup', '/a\\040folder', '/docker/abc', 'cpu') + mount('cgroup2', '/unified'),
      'a folder/inner/cpu.cfs_quota_us': '40000\n',
      'a folder/inner/cpu.cfs_period_us': '20000\n',
    };
    expect(readContainerLimits(temporaryFolder(files))).toEqual({ ...NONE, cpus: 2 });
  });
});

test('a system without cgroups has no limits', () => {
  expect(readContainerLimits(temporaryFolder())).toEqual(NONE);
  expect(
    readContainerLimits(temporaryFolder({ 'proc/self/cgroup': 'nonsense', 'proc/self/mountinfo': ' - \n' })),
  ).toEqual(NONE);
});

test.each<readonly [limit: number | undefined, machine: number, cpus: number]>([
  [undefined, 8, 8],
  [2, 8, 2],
  [1.5, 8, 2],
  [0.25, 8, 1],
  [16, 8, 8],
])('a limit of %s of %d CPUs gives threads to %d', (limit, machine, cpus) => {
  expect(availableCpus(limit, machine)).toBe(cpus);
});

test('the memory is at most that of the machine', () => {
  expect(availableMemoryBytes()).toBeGreaterThan(1e8);
  expect(availableMemoryBytes()).toBeLessThanOrEqual(totalmem());
});

/** A real group that only root can make. */
describe('of this kernel', () => {
  const parent = ['/sys/fs/cgroup/cpu', '/sys/fs/cgroup'].find((folder) => canLimit(folder));

  function canLimit(folder: string): boolean {
    const name = `${folder}/blip-handler-probe-${process.pid}`;
    try {
      mkdirSync(name);
      const has = existsSync(`${name}/cpu.cfs_quota_us`) || existsSync(`${name}/cpu.max`);
      rmdirSync(name);
      return has;
    } catch {
      return false;
    }
  }

  test.skipIf(parent === undefined)('a quota of 1.5 CPUs is read (skipped where no group can be made)', () => {
    const group = `${parent}/blip-handler-test-${process.pid}`;
    mkdirSync(group);
    onTestFinished(() => rmdirSync(group));
    if (existsSync(`${group}/cpu.max`)) writeFileSync(`${group}/cpu.max`, '150000 100000');
    else writeFileSync(`${group}/cpu.cfs_quota_us`, '150000');
    const module = fileURLToPath(new URL('../../pipeline/container-limits.ts', import.meta.url));
    const print = `import('${module}').then((m) => console.log(m.readContainerLimits().cpus, m.availableCpus()))`;
    // The shell joins the group, and becomes Node.
    const script = `echo $$ > ${group}/cgroup.procs && exec "${process.execPath}" --import tsx -e "${print}"`;
    const output = execFileSync('sh', ['-c', script], { encoding: 'utf8' });
    expect(output.trim()).toBe(`1.5 ${Math.min(2, availableParallelism())}`);
  });
});
