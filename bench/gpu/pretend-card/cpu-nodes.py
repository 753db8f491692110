"""Lists the nodes that a session's verbose log places on the CPU.

    python3 cpu-nodes.py LOG…

onnxruntime prefers the CPU for some nodes that compute shapes; those are only counted. Named are the nodes that the CPU got
for another reason, and the operators for which CUDA has no kernel.
"""

import collections
import re
import sys

PREFERRED = re.compile(r"Force fallback to CPU execution for node: (\S+) because")
NO_KERNEL = re.compile(r"CUDA kernel not found in registries for Op type: (\S+) node name: (\S+)")
SECTION = re.compile(r"placed on \[(\w+)\]")
PLACED = re.compile(r"VerifyEachNodeIsAssignedToAnEp\]\s+(\S+) \((.*)\)")


def read(path):
    """Operators and names of the nodes on the CPU, names of those that prefer it, and what has no kernel."""
    preferred, on_cpu, no_kernel, provider = set(), [], set(), None
    with open(path, errors="replace") as file:
        for line in file:
            if match := PREFERRED.search(line):
                preferred.add(match.group(1))
            if match := NO_KERNEL.search(line):
                no_kernel.add(match.groups())
            if match := SECTION.search(line):
                provider = match.group(1)
            elif provider == "CPUExecutionProvider" and (match := PLACED.search(line)):
                on_cpu.append(match.groups())
    return on_cpu, preferred, no_kernel


def main(*paths):
    for path in paths:
        on_cpu, preferred, no_kernel = read(path)
        print(f"{path}: {len(on_cpu)} nodes on the CPU, {dict(collections.Counter(operator for operator, _ in on_cpu))}")
        print(f"  for another reason than preference: {[node for node in on_cpu if node[1] not in preferred]}")
        print(f"  without a CUDA kernel: {sorted(no_kernel)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
