#!/usr/bin/env bash
# Installs what the engines and the tests on them need and this machine lacks, on Debian: a Java 17, Maven,
# make, a C compiler (for Go's race detector), Chromium, and cqlsh in a Python environment of its own under
# the user's cache. It may run any number of times, and leaves alone what is installed. It needs root, or sudo, only if
# a package is missing. It prints what it installs, and the versions that will be used.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
NAME=kafka
. ./engine.sh

has() { command -v "$1" > /dev/null 2>&1; }
missing=()
find_java > /dev/null || missing+=(openjdk-17-jre-headless)
has mvn || missing+=(maven)
has make || missing+=(make)
has cc || missing+=(gcc libc6-dev)
has chromium || missing+=(chromium)
cqlsh="$CACHE/cqlsh/bin/cqlsh"
if ! [ -x "$cqlsh" ]; then
  has python3 || missing+=(python3)
  python3 -c 'import ensurepip, venv' 2> /dev/null || missing+=(python3-venv)
fi

if [ ${#missing[@]} -gt 0 ]; then
  echo "install: ${missing[*]}"
  root=()
  if [ "$(id -u)" != 0 ]; then
    has sudo || { echo "install: needs root for: apt-get install ${missing[*]}" >&2; exit 1; }
    root=(sudo)
  fi
  "${root[@]}" apt-get -q -y update
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${missing[@]}"
fi

if ! [ -x "$cqlsh" ]; then
  echo "install: cqlsh into $CACHE/cqlsh"
  rm -rf "$CACHE/cqlsh"
  python3 -m venv "$CACHE/cqlsh"
  "$CACHE/cqlsh/bin/pip" install --quiet cqlsh==6.2.2 || { rm -rf "$CACHE/cqlsh"; exit 1; }
fi

for NAME in kafka cassandra; do
  . ./engine.sh
  fetch_jars
done

echo "install: $("$(find_java)" -version 2>&1 | head -n 1); $(mvn -v 2> /dev/null | head -n 1); $(chromium --version 2> /dev/null); $("$cqlsh" --version)"
