#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Write requirements/demo.txt and requirements/test.txt: every Python package that make demo and
# make test install, with its version and the hashes of its files, for every Python and platform
# that pyproject.toml supports. Run as `make lock`; asks the package index that pip is set to.
#
# What is locked already stays at its version while the ranges allow it; `make lock UPGRADE=1`
# takes what is newest.

set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin

index=$("$bin/pip" config get global.index-url 2>/dev/null || true)
options=(
    # One file for all: markers say what is for which Python and machine.
    --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-annotate --quiet
    --custom-compile-command "make lock"
)
if [[ -n ${PIP_INDEX_URL:-$index} ]]; then options+=(--index-url "${PIP_INDEX_URL:-$index}"); fi
if [[ -n ${UPGRADE:-} ]]; then options+=(--upgrade); fi

mkdir -p requirements build
lock() {
    local purpose=$1
    shift
    "$bin/python" scripts/requirements.py "$purpose" >"build/requirements-$purpose.in"
    "$bin/uv" pip compile "${options[@]}" "$@" \
        "build/requirements-$purpose.in" -o "requirements/$purpose.txt"
    sed -i '1i # SPDX-License-Identifier: Apache-2.0' "requirements/$purpose.txt"
    echo "lock: requirements/$purpose.txt: $(grep -c '==' "requirements/$purpose.txt") packages"
}

lock test
# A part of it, at the same versions.
lock demo --constraint requirements/test.txt

# Nobody should need a compiler for them: each Python on each machine, as of Debian 12, finds a wheel.
for python in 3.10 3.11 3.12 3.13; do
    for machine in x86_64 aarch64; do
        "$bin/uv" pip install --quiet --dry-run --target build/lock-check --only-binary :all: \
            --python-version "$python" --python-platform "$machine-manylinux_2_36" \
            --require-hashes ${index:+--index-url "$index"} -r requirements/test.txt
        echo "lock: Python $python on $machine: every package has a wheel that is locked"
    done
done
