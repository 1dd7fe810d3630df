#!/usr/bin/env bash
# Runs the tests that need real engines: Go files with the build tag `engines`. It starts Apache Kafka and
# Apache Cassandra on free ports with empty data folders, runs the tests, and stops both whatever happens.
# TestStorageOutage, which waits for ten minutes, runs beside the others on engines of its own; what it
# printed is shown when both have ended. With arguments, which go to `go test`, all run on one pair of
# engines, one after the other, for example: test.sh -run TestKills
#
# What the tests find in their environment:
#   WEIR_TEST_KAFKA, WEIR_TEST_CQL   host:port of the engines
#   WEIR_ENGINES                     this folder: the tests kill and start the engines through its scripts,
#                                    which find the same engines by KAFKA_PORT, KAFKA_RUN, CQL_PORT, CASSANDRA_RUN
#   WEIR_ENGINES_OWN                 a folder: engines that a test starts in NAME-kafka and NAME-cassandra below it are
#                                    stopped at the end, too
#   WEIR_CHROMIUM, WEIR_CQLSH        the programs
#   WEIR_TEST_LOGS                   where a test that fails leaves what explains it, whole: .cache/test-logs if
#                                    nothing else is said. The logs of the engines go there, too
#   WEIR_TEST_KEEP                   set: what stood in the topics is left there by those that pass, too
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export WEIR_ENGINES=$PWD/deploy/engines
aside=TestStorageOutage

bash "$WEIR_ENGINES/install.sh"
WEIR_CHROMIUM=$(command -v chromium)
WEIR_CQLSH=${WEIR_CACHE:-${XDG_CACHE_HOME:-~/.cache}/weir}/cqlsh/bin/cqlsh
export WEIR_CHROMIUM WEIR_CQLSH
export WEIR_TEST_LOGS=${WEIR_TEST_LOGS:-$PWD/.cache/test-logs}

# free_port SLOT prints the first of three free ports, others than for any other slot. They are below
# 32768, where no outgoing connection of this machine takes its port.
free_port() {
  local port
  while port=$((20000 + RANDOM % 750 * 16 + $1 * 3)); do
    for next in 0 1 2; do (exec 3<> "/dev/tcp/127.0.0.1/$((port + next))") 2> /dev/null && continue 2; done
    echo "$port"
    return
  done
}

tmp=$(mktemp -d)
mkdir "$tmp/all" "$tmp/aside"
beside=
finish() {
  # First the tests, which might start an engine again.
  [ -z "$beside" ] || kill -KILL -- "-$beside" 2> /dev/null || true
  for run in "$tmp"/*/{,*-}kafka; do WIPE=1 KAFKA_RUN=$run "$WEIR_ENGINES/kafka/stop.sh" KILL || true; done
  for run in "$tmp"/*/{,*-}cassandra; do WIPE=1 CASSANDRA_RUN=$run "$WEIR_ENGINES/cassandra/stop.sh" KILL || true; done
  rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# engines FOLDER SLOT starts a pair of engines there, which what runs later in this shell finds. It takes two slots.
engines() {
  local kafka cassandra
  export KAFKA_RUN="$1/kafka" CASSANDRA_RUN="$1/cassandra" WEIR_ENGINES_OWN="$1" TMPDIR="$1/go" # what the tests leave behind goes with the rest
  KAFKA_PORT=$(free_port "$2")
  CQL_PORT=$(free_port $(($2 + 1)))
  export KAFKA_PORT CQL_PORT WEIR_TEST_KAFKA=127.0.0.1:$KAFKA_PORT WEIR_TEST_CQL=127.0.0.1:$CQL_PORT
  mkdir "$TMPDIR"
  "$WEIR_ENGINES/kafka/start.sh" & kafka=$!
  "$WEIR_ENGINES/cassandra/start.sh" & cassandra=$!
  wait "$kafka"
  wait "$cassandra"
}

# run ARGUMENTS… runs tests on the engines, and says what those logged if one failed.
run() {
  local log=$TMPDIR/go-test.log status=0 engine
  go test -tags engines -count=1 -p 1 -timeout 40m -v "$@" 2>&1 |
    tee "$log" | grep --line-buffered -v '^=== ' || status=${PIPESTATUS[0]}
  if [ "$status" != 0 ]; then
    mkdir -p "$WEIR_TEST_LOGS"
    cp "$log" "$WEIR_TEST_LOGS/$(basename "${KAFKA_RUN%/*}")-go-test.log"
    for engine in "$KAFKA_RUN"/out.log* "$CASSANDRA_RUN"/out.log*; do
      cp "$engine" "$WEIR_TEST_LOGS/$(basename "${KAFKA_RUN%/*}")-$(basename "${engine%/*}")-${engine##*/}"
      printf '\nthe last warnings of %s, and its end:\n' "$engine"
      grep -E ' (WARN|ERROR) ' "$engine" | tail -n 10 | cut -c 1-300 || true
      tail -n 5 "$engine" | cut -c 1-300
    done
  fi
  return "$status"
}

# failed prints what the tests that failed have logged, without the logs of processes among it: the last
# thing to be printed, where a reader of a long log looks.
failed() {
  local log
  for log in "$tmp"/*/go/go-test.log; do
    awk '/^=== RUN/ { said = "" }
      /^ +[a-z_]+\.go:[0-9]+: / { said = said substr($0, 1, 500) "\n" }
      /^ *--- FAIL/ { printf "%s%s\n", said, $0; said = "" }
      /^(panic:|FAIL|ok)/ { print }' "$log"
  done
}

# Only what needs engines: the tests of files with the tag, in the packages that have such files.
files=$(grep -rlE --include='*_test.go' '^//go:build (.*[^a-z!])?engines\b' .)
tests=$(sed -nE 's/^func (Test[A-Za-z0-9_]+)\(.*/\1/p' $files | sort -u | paste -sd'|')
packages=$(dirname $files | sort -u)

if [ $# -gt 0 ]; then
  engines "$tmp/all" 0
  run -run "^($tests)\$" "$@" $packages || { failed; exit 1; }
  exit
fi

set -m # a process group of its own, so that it can be ended whole
(
  trap - EXIT INT TERM HUP
  set +m
  engines "$tmp/aside" 2
  run -run "^$aside\$" $(dirname $(grep -lE "^func $aside\(" $files))
) > "$tmp/aside.log" 2>&1 &
beside=$!
set +m
status=0
engines "$tmp/all" 0
run -run "^($tests)\$" -skip "^$aside\$" $packages || status=$?
echo "waiting for $aside"
wait "$beside" || status=$?
beside=
cat "$tmp/aside.log"
[ "$status" = 0 ] || failed
exit "$status"
