# Settings of the Kafka engine; sourced by start.sh and stop.sh.
#   KAFKA_PORT  clients' port; the controller takes the next one
#   KAFKA_RUN   folder of its data, log and pid
#   KAFKA_HEAP  size of the Java heap
set -euo pipefail
NAME=kafka
. "$(dirname "${BASH_SOURCE[0]}")/../engine.sh"
: "${KAFKA_PORT:=29092}" "${KAFKA_HEAP:=512M}"
RUN=${KAFKA_RUN:-$CACHE/run/kafka-$KAFKA_PORT}
