# Settings of the Cassandra engine; sourced by start.sh, stop.sh and nodetool.sh.
#   CQL_PORT        clients' port; storage (gossip) takes the next one, JMX the one after
#   CASSANDRA_RUN   folder of its data, log and pid
#   CASSANDRA_HEAP  size of the Java heap
#   CASSANDRA_SECURE  folder with ca.pem and server.pem (key and certificate): clients need TLS, a
#                     certificate of the authority, a login (cassandra, with the password cassandra, may do everything)
#                     and grants
#   COMMITLOG_SYNC  batch: a write is on disk before it is acknowledged. One node needs that (kill -9
#                   under `periodic` lost 200 to 850 acknowledged rows); a cluster of three does not.
set -euo pipefail
NAME=cassandra
. "$(dirname "${BASH_SOURCE[0]}")/../engine.sh"
: "${CQL_PORT:=29042}" "${CASSANDRA_HEAP:=768M}" "${COMMITLOG_SYNC:=batch}"
RUN=${CASSANDRA_RUN:-$CACHE/run/cassandra-$CQL_PORT}
JMX_PORT=$((CQL_PORT + 2))

# What Cassandra reaches for inside the JDK, as its own launcher opens it.
OPENS=()
for p in java.base/jdk.internal.misc java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry \
  java.rmi/sun.rmi.server java.sql/java.sql java.base/java.lang.ref jdk.unsupported/sun.misc; do
  OPENS+=(--add-exports "$p=ALL-UNNAMED")
done
for p in java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect \
  java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar \
  jdk.management/com.sun.management.internal java.base/sun.nio.ch java.base/java.io java.base/java.nio \
  java.base/java.util.concurrent java.base/java.util java.base/java.util.concurrent.atomic java.base/java.lang; do
  OPENS+=(--add-opens "$p=ALL-UNNAMED")
done
