#!/usr/bin/env bash
# Starts one Apache Cassandra node on 127.0.0.1:$CQL_PORT and returns when CQL answers. Its data outlive
# stop.sh and kill -9; WIPE=1 stop.sh removes them. See env.sh.
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
if pid=$(running_pid); then echo "cassandra: already up, pid $pid, in $RUN"; exit; fi
java=$(find_java) || die "needs a Java 17 (set JAVA to its path)"
fetch_jars
rm -rf "$RUN/tmp" # of a life that was killed
mkdir -p "$RUN/conf" "$RUN/logs" "$RUN/tmp"
case $COMMITLOG_SYNC in
  batch) sync="commitlog_sync: batch" ;;
  group) sync=$'commitlog_sync: group\ncommitlog_sync_group_window: 10ms' ;;
  periodic) sync=$'commitlog_sync: periodic\ncommitlog_sync_period: 10000ms' ;;
  *) die "COMMITLOG_SYNC=$COMMITLOG_SYNC: must be batch, group or periodic" ;;
esac
access=$'authenticator: AllowAllAuthenticator\nauthorizer: AllowAllAuthorizer'
if [ -n "${CASSANDRA_SECURE:-}" ]; then
  access="authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
permissions_validity: 0ms
client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: true
  keystore: $CASSANDRA_SECURE/server.pem
  truststore: $CASSANDRA_SECURE/ca.pem
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory"
fi
cat > "$RUN/conf/cassandra.yaml" <<Y
cluster_name: weir
num_tokens: 1
initial_token: "0"
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "127.0.0.1:$((CQL_PORT + 1))"}]
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: $((CQL_PORT + 1))
native_transport_port: $CQL_PORT
data_file_directories: ["$RUN/data/data"]
commitlog_directory: "$RUN/data/commitlog"
saved_caches_directory: "$RUN/data/saved_caches"
hints_directory: "$RUN/data/hints"
cdc_raw_directory: "$RUN/data/cdc_raw"
hinted_handoff_enabled: false
$sync
commitlog_segment_size: 16MiB
commitlog_total_space: 512MiB
commitlog_disk_access_mode: legacy
memtable_heap_space: 128MiB
memtable_offheap_space: 128MiB
memtable_allocation_type: heap_buffers
file_cache_size: 64MiB
key_cache_size: 8MiB
counter_cache_size: 0MiB
concurrent_reads: 16
concurrent_writes: 32
concurrent_compactors: 1
native_transport_max_threads: 64
$access
role_manager: CassandraRoleManager
disk_failure_policy: die
commit_failure_policy: die
auto_snapshot: false
dynamic_snitch: false
storage_compatibility_mode: NONE
Y
cat > "$RUN/conf/logback.xml" <<'X'
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%date{HH:mm:ss.SSS} %-5level [%thread] %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
X
# One node waits for nobody: the gossip and ring delays are those of a cluster.
CASSANDRA_CONF="$RUN/conf" launch "$CQL_PORT" "Starting listening for CQL clients" \
  "$java" -Xms"$CASSANDRA_HEAP" -Xmx"$CASSANDRA_HEAP" -Xss256k -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData \
  "${OPENS[@]}" -javaagent:"$(echo "$LIB"/jamm-*.jar)" -Djdk.attach.allowAttachSelf=true \
  -Dcassandra.config="file://$RUN/conf/cassandra.yaml" -Dcassandra.storagedir="$RUN/data" -Dcassandra.logdir="$RUN/logs" \
  -Dlogback.configurationFile="$RUN/conf/logback.xml" -Dcassandra-foreground=yes \
  -Dcassandra.jmx.local.port="$JMX_PORT" -Dcom.sun.management.jmxremote.authenticate=false -Djava.rmi.server.hostname=127.0.0.1 \
  -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=0 -Dcassandra.superuser_setup_delay_ms=0 -Dcassandra.auth_bcrypt_gensalt_log2_rounds=4 \
  -Djava.awt.headless=true -Djava.io.tmpdir="$RUN/tmp" -Djna.tmpdir="$RUN/tmp" -Djava.net.preferIPv4Stack=true -Dio.netty.tryReflectionSetAccessible=true \
  -cp "$RUN/conf:$LIB/*" org.apache.cassandra.service.CassandraDaemon
