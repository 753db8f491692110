"""Compares two traces (FAKE_TRACE): which launches and copies the second has more often than the first.

    python3 diff.py TRACE TRACE_WITH_ONE_MORE_ITERATION
"""

import collections
import re
import sys

FUNCTION = re.compile(r"(?:void |std::enable_if.*?::type )?([\w:]+(?:::)?)(<.*)?")


def kernel_name(signature):
    """The name of a kernel without most of its template arguments."""
    match = FUNCTION.match(signature)
    name = match.group(1) if match else signature[:60]
    if "ElementWise" in name:
        operation = re.search(r"OP_\w+<[^>]*>", signature)
        return f"{name} {operation.group(0) if operation else signature[len(name) : 60]}"
    if "attention_kernel" in name or "flash" in signature or "fmha" in signature:
        return signature[:110]
    if (name.startswith("_Concat") or "Gather" in name) and "<" in signature:
        return f"{name} {re.search(r'<([^,>]*)', signature).group(1)}"
    return name


def short(line):
    kind, signature = line.rstrip("\n").split("\t", 1)
    for namespace, letters in (("onnxruntime::cuda::", ""), ("onnxruntime::contrib::cuda::", "c::"), ("onnxruntime::", "")):
        signature = signature.replace(namespace, letters)
    if kind in ("h2d", "d2h", "d2d"):
        return kind, signature
    return kind.lower(), kernel_name(signature)  # KERNEL in capitals is one that was computed.


def count(path):
    with open(path) as file:
        return collections.Counter(short(line) for line in file if "\t" in line)


def main(one, other):
    fewer, more = count(one), count(other)
    differences = {key: more[key] - fewer[key] for key in more if more[key] != fewer[key]}
    totals = collections.Counter()
    for (kind, name), difference in sorted(differences.items(), key=lambda item: -item[1]):
        print(f"{difference:5d} {kind}\t{name}")
        totals[kind] += difference
    print(dict(totals))


if __name__ == "__main__":
    main(*sys.argv[1:])
