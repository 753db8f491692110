#!/usr/bin/env bash
# Installs the clients that try.ts runs into a folder: two Python environments, and Lambda's runtime client for Node,
# which is compiled (cmake, autoconf, automake, libtool, g++ and make must be there).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?"Expected a folder to install into."}
for environment in clients kserve; do
  python3 -m venv "$folder/$environment"
  "$folder/$environment/bin/pip" install --quiet --requirement "$here/requirements-$environment.txt"
done
npm install --prefix "$folder/lambda" --ignore-scripts=false --no-audit --no-fund aws-lambda-ric@3.3.0
