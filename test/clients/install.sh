#!/usr/bin/env bash
# Installs the clients that try.ts runs into a folder: three Python environments, and Lambda's runtime client for Node,
# which is compiled (cmake, autoconf, automake, libtool, g++ and make must be there).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?"Expected a folder to install into."}
for environment in clients kserve jina; do
  python3 -m venv "$folder/$environment"
  "$folder/$environment/bin/pip" install --quiet --requirement "$here/requirements-$environment.txt"
done
"$folder/jina/bin/pip" install --quiet --no-deps jina==3.14.1 # requirements-jina.txt says why.
npm install --prefix "$folder/lambda" --ignore-scripts=false --no-audit --no-fund aws-lambda-ric@3.3.0
