"""Takes the CUDA provider out of a wheel of onnxruntime-gpu, if it fits onnxruntime-node.

    python3 unpack-provider.py WHEEL RUNTIME FOLDER

RUNTIME is onnxruntime-node's libonnxruntime.so.1. A provider works only with the runtime that was built from the same
commit, and both libraries say which one that is. Writes libonnxruntime_providers_{cuda,shared}.so to FOLDER.
"""

import re
import shutil
import sys
import zipfile
from pathlib import Path


def commit(library):
    return re.search(rb"git-commit-id=(\w+)", library).group(1).decode()


def main(wheel, runtime, folder):
    with zipfile.ZipFile(wheel) as archive:
        build = archive.read("onnxruntime/capi/build_and_package_info.py").decode()
        cuda = re.search(r"cuda_version = '(\d+)", build)
        if not cuda or cuda.group(1) != "13":
            sys.exit(f"Expected a wheel built for CUDA 13, got: {build}")
        wheel_runtime = next(name for name in archive.namelist() if re.search(r"capi/libonnxruntime\.so\.\d", name))
        theirs, ours = commit(archive.read(wheel_runtime)), commit(Path(runtime).read_bytes())
        if theirs != ours:
            sys.exit(f"Expected the wheel to be built from the commit of onnxruntime-node, {ours}, got {theirs}.")
        for name in ("libonnxruntime_providers_cuda.so", "libonnxruntime_providers_shared.so"):
            with archive.open(f"onnxruntime/capi/{name}") as source, open(f"{folder}/{name}", "wb") as target:
                shutil.copyfileobj(source, target, 1 << 24)
    print(f"onnxruntime-gpu and onnxruntime-node are built from commit {ours}")


if __name__ == "__main__":
    main(*sys.argv[1:])
