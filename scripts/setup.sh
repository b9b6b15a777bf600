#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Prepare this clone: Debian packages (as root) and a virtual environment in .venv.
#
#   scripts/setup.sh demo|test [PYTHON]
#
# Run by the Makefile. Says each command that changes the system before it runs it, and does
# nothing at all when everything is there. Without root it says in one line what to install.

set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:?usage: scripts/setup.sh demo|test [PYTHON]}
python=${2:-python3}
venv=.venv
missing=()

have() { command -v "$1" >/dev/null 2>&1; }

# Debian gives some programs another name than their authors.
have_any() { have "$1" || have "$2"; }

# Servers are where an ordinary user's PATH does not go.
have_server() { have "$1" || test -x "/usr/sbin/$1"; }

# need PACKAGE TEST…: remember PACKAGE when the command TEST… fails.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

# Installs "$@". Server packages start their daemon when they are installed, unless a policy
# script forbids it; ours is there only while apt runs, and one that is there already is kept.
apt_install() {
    local policy=/usr/sbin/policy-rc.d status=0
    local command=(apt-get install -y --no-install-recommends "$@")
    echo "+ apt-get update && ${command[*]}"
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    local ours=0
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        ours=1
    fi
    { apt-get -q update && "${command[@]}"; } >>build/apt.log 2>&1 </dev/null || status=$?
    if ((ours)); then rm -f "$policy"; fi
    if ((status)); then
        tail -n 5 build/apt.log >&2
        echo "setup: apt-get failed; its output is in build/apt.log" >&2
    fi
    return "$status"
}

python_has_headers() {
    "$python" -c 'import pathlib, sys, sysconfig
sys.exit(not pathlib.Path(sysconfig.get_paths()["include"], "Python.h").exists())'
}

# clang comes without its runtime libraries: the sanitizers', and libFuzzer.
has_libfuzzer() {
    local machine
    machine=$(uname -m)
    have clang && { test -e "$(clang -print-file-name="libclang_rt.fuzzer-$machine.a")" ||
        compgen -G "$(clang -print-resource-dir)/lib/linux/libclang_rt.fuzzer-$machine.a"; }
}

find_missing() {
    missing=()
    need gcc have gcc
    need libc6-dev test -e /usr/include/stdio.h
    need libseccomp-dev test -e /usr/include/seccomp.h
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then missing+=(python3-venv); fi
    if ! python_has_headers; then missing+=(python3-dev); fi
    required=${#missing[@]}
    # The last part of the demonstration.
    need memcached have memcached
    need libmemcached-tools have_any memcapable memccapable
    if [[ $purpose == test ]]; then
        need g++ have g++
        need clang have clang
        need libclang-rt-dev has_libfuzzer
        need gcc-aarch64-linux-gnu have aarch64-linux-gnu-gcc
        need libc6-dev-arm64-cross test -e /usr/aarch64-linux-gnu/include/stdio.h
        need qemu-user have qemu-aarch64
        need chromium have chromium
        need openssl have openssl
        need groff have groff
        need man-db have man
        need procps have ps
        need spin have spin
        need valgrind test -e /usr/include/valgrind/memcheck.h
        need relacy-dev test -e /usr/include/relacy/relacy.hpp
        # Servers, their clients and peers, for the tests of programs in an enclave.
        need lighttpd have_server lighttpd
        need openvpn have_server openvpn
        need wrk have wrk
        need apache2-utils have ab
        need iperf3 have iperf3
        need iproute2 have ip
        need iputils-ping have ping
        need openssl have openssl
        need util-linux have nsenter
        need bubblewrap have bwrap
        need runsc have runsc
        need curl have curl
        need sqlite3 have sqlite3
        need redis-server have redis-server
    fi
}

if ! have "$python"; then
    echo "setup: $python not found; install Python 3.10 or newer (apt-get install python3)" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "setup: $python is older than Python 3.10; use make PYTHON=python3.x" >&2
    exit 1
fi

# Not an environment's own python, which may be the one that is to be replaced.
python=$("$python" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')

mkdir -p build
tag=$("$python" -c 'import sys; print(sys.implementation.cache_tag, sys.base_prefix)')

# The stamp holds the interpreter: another PYTHON makes another environment.
stamp=$venv/.setup-$purpose
lock=requirements/$purpose.txt
if [[ -e $stamp && $(<"$stamp") == "$tag" && $stamp -nt pyproject.toml && $stamp -nt $0 &&
    $stamp -nt $lock ]]; then
    exit 0
fi

find_missing
if ((${#missing[@]})); then
    if have apt-get && [[ $(id -u) == 0 ]]; then
        apt_install "${missing[@]}"
        find_missing
        if ((${#missing[@]})); then
            echo "setup: still missing: ${missing[*]}" >&2
            ((required == 0)) || exit 1
        fi
    elif ((required)); then
        echo "setup: please install first: sudo apt-get install ${missing[*]}" >&2
        exit 1
    else
        echo "setup: some parts will be left out; for all: sudo apt-get install ${missing[*]}" >&2
    fi
fi

if [[ -e $venv && ! (-e $venv/.python && $(<"$venv/.python") == "$tag") ]]; then
    echo "setup: making .venv anew for $python"
    rm -rf "$venv"
fi
if [[ ! -e $venv ]]; then
    "$python" -m venv "$venv"
    echo "$tag" >"$venv/.python"
fi

# The build requirements and dependencies of pyproject.toml, without building hotcalls itself: the
# files that were there when `make lock` was last run, and no others.
if "$python" -c 'import platform, sys
sys.exit(not ((3, 10) <= sys.version_info < (3, 14)
              and sys.implementation.name == "cpython"
              and platform.machine() in ("x86_64", "aarch64")))'; then
    if ! "$venv/bin/python" scripts/requirements.py "$purpose" --locked; then
        # Whoever adds a package needs this environment to lock it.
        echo "setup: installing what the ranges of pyproject.toml allow, at no fixed versions" >&2
        lock=
    fi
else
    echo "setup: packages are pinned for CPython 3.10 to 3.13 on x86-64 and aarch64, which" \
        "$python here is not: installing what the ranges of pyproject.toml allow" >&2
    lock=
fi
if [[ -n $lock ]]; then
    packages=(--require-hashes -r "$lock")
else
    "$venv/bin/python" scripts/requirements.py "$purpose" >"build/requirements-$purpose.txt"
    packages=(-r "build/requirements-$purpose.txt")
fi
echo "setup: installing Python packages for make $purpose into .venv"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check "${packages[@]}"
echo "$tag" >"$stamp"
if [[ $purpose == test ]]; then echo "$tag" >"$venv/.setup-demo"; fi
