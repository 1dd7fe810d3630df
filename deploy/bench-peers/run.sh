#!/usr/bin/env bash
# Runs weir's benchmarks and those of its peers in turns, RUNS times, and prints the Go benchmark lines of
# all of them, then the medians and ratios: see README.md. A peer that cannot be had is named with the
# reason and left out; only a failure of weir's own part is an error.
#   run.sh [RUNS]   3 unless given; one takes 2 minutes of CPU
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
RUNS=${1:-3}
NAME=kafka
. ../engines/engine.sh # find_java, fetch_jars, answers, CACHE
renice -n 10 -p $$ > /dev/null # others work on this machine
LOADS=(dense sparse)
VM=$(sed -nE 's/^require .*VictoriaMetrics (v[0-9.]+)$/\1/p' streamaggr/go.mod)
KS=$(sed -nE '/<artifactId>kafka-streams</{n;s/.*<version>(.*)<\/version>.*/\1/p}' kafka-streams/pom.xml)

tmp=$(mktemp -d)
export KAFKA_RUN=$tmp/kafka KAFKA_PORT=0
stop_broker() { WIPE=1 ../engines/kafka/stop.sh KILL; }
finish() {
  stop_broker || true
  rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# left_out PEER says why: the end of $tmp/log.
left_out() {
  printf '%s: not measured:\n' "$1"
  grep -vE '^(\s*at |go: downloading)' "$tmp/log" | tail -n 5 | sed 's/^/    /'
}

# measure COMMAND… prints and keeps its benchmark lines, marked with the run; none is a failure.
measure() {
  timeout --foreground -k 5 180 "$@" > "$tmp/log" 2>&1 || { echo "status $? of $(basename "$1")" >> "$tmp/log"; return 1; }
  grep '^Benchmark' "$tmp/log" || { echo "no benchmark line" >> "$tmp/log"; return 1; }
  grep '^Benchmark' "$tmp/log" | sed "s/^/$run /" >> "$tmp/results"
}

weir() {
  measure "$@" || { sed 's/^/    /' "$tmp/log" >&2; echo "bench-peers: weir's own benchmark failed" >&2; exit 1; }
}

build_kafka_streams() (
  java=$(find_java) || { echo "needs a Java 17 (set JAVA to its path)"; exit 1; }
  ENGINES=$PWD NAME=kafka-streams LIB=$1
  fetch_jars
  "$java" -cp "$LIB/*" org.eclipse.jdt.internal.compiler.batch.Main -17 -d "$tmp/classes" \
    -cp "$(printf '%s:' "$LIB"/*.jar)" kafka-streams/Peer.java
)

start_broker() {
  KAFKA_PORT=$((20000 + RANDOM % 1200 * 10)) # below 32768, where no outgoing connection takes its port
  while answers "$KAFKA_PORT" || answers $((KAFKA_PORT + 1)); do KAFKA_PORT=$((20000 + RANDOM % 1200 * 10)); done
  ../engines/kafka/start.sh > "$tmp/log" 2>&1
}

kafka_streams() {
  local load
  start_broker || return 1
  for load in "${LOADS[@]}"; do
    measure "$(find_java)" -Xmx512m -XX:+UseSerialGC -XX:-UsePerfData -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
      -cp "$tmp/classes:$1/*" Peer "127.0.0.1:$KAFKA_PORT" "$load" "$tmp/state" || return 1
  done
  stop_broker
  rm -rf "$tmp/state"
}

(cd ../.. && go test -c -o "$tmp/windows" ./windows && go test -c -o "$tmp/window" ./processors/window)
peers=()
if (cd streamaggr && go test -c -o "$tmp/streamaggr" .) > "$tmp/log" 2>&1; then peers+=(streamaggr); else left_out "VictoriaMetrics streamaggr $VM"; fi
jars="$CACHE/lib/kafka-streams-$(cksum < kafka-streams/pom.xml | cut -d' ' -f1)"
if build_kafka_streams "$jars" > "$tmp/log" 2>&1; then peers+=(kafka-streams); else left_out "Kafka Streams $KS"; fi

for run in $(seq 1 "$RUNS"); do
  # One CPU for what runs inside one process: with two, streamaggr spends some of them on waiting.
  weir "$tmp/windows" -test.run '^$' -test.bench '^BenchmarkWindows$/^series=10000$' -test.cpu 1
  for peer in "${peers[@]}"; do
    case $peer in
      streamaggr)
        measure "$tmp/streamaggr" -test.cpu 1 || left_out "VictoriaMetrics streamaggr $VM" ;;
      kafka-streams)
        weir "$tmp/window" -test.run '^$' -test.bench '^BenchmarkWindowProcessor$/^batch=1$' -test.benchtime 1x
        kafka_streams "$jars" || left_out "Kafka Streams $KS"
        stop_broker ;;
    esac
  done
done

# The ratio is the median of the runs' ratios: what slows a run slows both of its sides.
awk -v vm="VictoriaMetrics streamaggr $VM" -v ks="Kafka Streams $KS, RocksDB" -v loads="${LOADS[*]}" '
  function median(v, n,   i, j, t) {
    for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j-1]; j--) { t = v[j]; v[j] = v[j-1]; v[j-1] = t }
    return n % 2 ? v[(n+1)/2] : (v[n/2] + v[n/2+1]) / 2
  }
  function short(x) { return sprintf(x < 10 ? "%.1f" : "%.0f", x) }
  function row(load, name, peer, ours,   r, n, p, w, q) {
    for (r = 1; r <= runs; r++) if ((r, peer, load) in rate && (r, ours, load) in rate) {
      n++
      p[n] = rate[r, peer, load]; w[n] = rate[r, ours, load]; q[n] = w[n] / p[n]
    }
    rows += n > 0
    if (n) printf "%-8s %-38s %12d   %-24s %12d %8s  %4d\n", load, name, median(p, n), ours, median(w, n), short(median(q, n)), n
  }
  {
    split($2, part, "/"); bench = substr(part[1], 10); load = $2
    sub(/.*\//, "", load); sub(/-[0-9]+$/, "", load)
    for (i = 3; i <= NF; i++) if ($i == "samples/cpu-s") rate[$1, bench, load] = $(i-1)
    if ($1 > runs) runs = $1
  }
  END {
    printf "\nsamples per CPU-second, medians\n%-8s %-38s %12s   %-24s %12s %8s  %4s\n", "load", "peer", "peer", "beside weir'\''s", "weir", "ratio", "runs"
    count = split(loads, l, " ")
    for (i = 1; i <= count; i++) {
      row(l[i], vm, "Streamaggr", "Windows")
      row(l[i], ks, "KafkaStreams", "Windows")
      row(l[i], ks, "KafkaStreams", "WindowProcessor")
    }
    if (!rows) print "none: no peer was measured"
  }' "$tmp/results"
if grep -q BenchmarkStreamaggr "$tmp/results"; then
  cat << 'T'

streamaggr sorts a sample into a window by the clock when it arrives: it knows no event time, so no late samples and
no revisions. It has no first. It is given decoded samples with all their labels; weir's windows a decoded batch with
the series' fingerprints, which route computes. Both keep their state in memory here.
T
fi
if grep -q BenchmarkKafkaStreams "$tmp/results"; then
  cat << 'T'

Kafka Streams runs whole: consumer, state in RocksDB with changelogs, emitted windows into a topic, at-least-once; the
CPU is that of its JVM once warm, without the broker. Its like is weir's WindowProcessor with records of one sample:
consumer, changelog, emitted windows, effectively once. Its first and last are by arrival; late samples are dropped.
T
fi
