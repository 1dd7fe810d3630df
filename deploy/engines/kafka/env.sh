# Settings of the Kafka engine; sourced by start.sh and stop.sh.
#   KAFKA_PORT    clients' port; the controller takes the next one, and clients with certificates the one after
#   KAFKA_RUN     folder of its data, log and pid
#   KAFKA_HEAP    size of the Java heap
#   KAFKA_SECURE  folder with ca.pem, server.pem (key and certificate), and admin and plain-users (lines of a name, a
#                 blank and a password): clients need TLS and a login on KAFKA_PORT (PLAIN, SCRAM, OAUTHBEARER with
#                 tokens that nobody signs), or a certificate of the authority on the port after the controller's, and
#                 ACLs. The one line of admin is who may do everything.
set -euo pipefail
NAME=kafka
. "$(dirname "${BASH_SOURCE[0]}")/../engine.sh"
: "${KAFKA_PORT:=29092}" "${KAFKA_HEAP:=512M}"
RUN=${KAFKA_RUN:-$CACHE/run/kafka-$KAFKA_PORT}
