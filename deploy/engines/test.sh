#!/usr/bin/env bash
# Runs the tests that need real engines: Go files with the build tag `engines`. It starts Apache Kafka and
# Apache Cassandra on free ports with empty data folders, runs the tests, and stops both whatever happens.
# Arguments go to `go test`, for example: test.sh -run TestEnginesKill
#
# What the tests find in their environment:
#   WEIR_TEST_KAFKA, WEIR_TEST_CQL   host:port of the engines
#   WEIR_ENGINES                     this folder: the tests kill and start the engines through its scripts,
#                                    which find the same engines by KAFKA_PORT, KAFKA_RUN, CQL_PORT, CASSANDRA_RUN
#   WEIR_CHROMIUM, WEIR_CQLSH        the programs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export WEIR_ENGINES=$PWD/deploy/engines

bash "$WEIR_ENGINES/install.sh"
WEIR_CHROMIUM=$(command -v chromium)
WEIR_CQLSH=${WEIR_CACHE:-${XDG_CACHE_HOME:-~/.cache}/weir}/cqlsh/bin/cqlsh

# Below 32768, where no outgoing connection of this machine takes its port.
free_port() {
  local port
  while port=$((20000 + RANDOM % 1200 * 10)); do
    for next in 0 1 2; do (exec 3<> "/dev/tcp/127.0.0.1/$((port + next))") 2> /dev/null && continue 2; done
    echo "$port"
    return
  done
}

tmp=$(mktemp -d)
finish() {
  WIPE=1 "$WEIR_ENGINES/kafka/stop.sh" KILL || true
  WIPE=1 "$WEIR_ENGINES/cassandra/stop.sh" KILL || true
  rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

KAFKA_PORT=$(free_port)
CQL_PORT=$(free_port)
[ "$KAFKA_PORT" != "$CQL_PORT" ] || CQL_PORT=$((CQL_PORT + 4))
mkdir "$tmp/go"
export TMPDIR=$tmp/go # what the tests leave behind goes with the rest
export KAFKA_PORT CQL_PORT KAFKA_RUN="$tmp/kafka" CASSANDRA_RUN="$tmp/cassandra" WEIR_CHROMIUM WEIR_CQLSH
export WEIR_TEST_KAFKA=127.0.0.1:$KAFKA_PORT WEIR_TEST_CQL=127.0.0.1:$CQL_PORT
"$WEIR_ENGINES/kafka/start.sh" & kafka=$!
"$WEIR_ENGINES/cassandra/start.sh" & cassandra=$!
wait "$kafka"
wait "$cassandra"

# Only what needs engines: the tests of files with the tag, in the packages that have such files.
files=$(grep -rlE --include='*_test.go' '^//go:build (.*[^a-z!])?engines\b' .)
tests=$(sed -nE 's/^func (Test[A-Za-z0-9_]+)\(.*/\1/p' $files | sort -u | paste -sd'|')
packages=$(dirname $files | sort -u)

status=0
go test -tags engines -count=1 -p 1 -timeout 20m -v -run "^($tests)\$" "$@" $packages 2>&1 |
  tee "$tmp/go-test.log" | grep --line-buffered -v '^=== ' || status=${PIPESTATUS[0]}
if [ "$status" != 0 ]; then
  for log in "$KAFKA_RUN"/out.log* "$CASSANDRA_RUN"/out.log*; do
    printf '\nthe last warnings of %s, and its end:\n' "$log"
    grep -E ' (WARN|ERROR) ' "$log" | tail -n 10 | cut -c 1-300 || true
    tail -n 5 "$log" | cut -c 1-300
  done
  echo
  grep -E '^(--- FAIL|panic:|FAIL|ok)' "$tmp/go-test.log" || true
fi
exit "$status"
