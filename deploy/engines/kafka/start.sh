#!/usr/bin/env bash
# Starts one Apache Kafka node (KRaft, broker and controller in one) on 127.0.0.1:$KAFKA_PORT and returns
# when it is ready. Its data outlive stop.sh and kill -9; WIPE=1 stop.sh removes them. See env.sh.
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
if pid=$(running_pid); then echo "kafka: already up, pid $pid, in $RUN"; exit; fi
java=$(find_java) || die "needs a Java 17 (set JAVA to its path)"
fetch_jars
rm -rf "$RUN/tmp" # of a life that was killed
mkdir -p "$RUN/tmp"
cat > "$RUN/server.properties" <<P
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((KAFKA_PORT + 1))
listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$((KAFKA_PORT + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$RUN/data
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
P
# A format that was killed half-way leaves no meta.properties, and is done again.
[ -e "$RUN/data/meta.properties" ] ||
  "$java" -Xmx128m -XX:TieredStopAtLevel=1 -cp "$LIB/*" kafka.tools.StorageTool format --ignore-formatted \
    --cluster-id AAAAAAAAAAAAAAAAAAAAAQ -c "$RUN/server.properties" > "$RUN/format.log" 2>&1 ||
  { cat "$RUN/format.log" >&2; die "could not format $RUN/data"; }
launch "$KAFKA_PORT" "Kafka Server started" \
  "$java" -Xms"$KAFKA_HEAP" -Xmx"$KAFKA_HEAP" -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData \
  -Djava.io.tmpdir="$RUN/tmp" \
  -Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
  -cp "$LIB/*" kafka.Kafka "$RUN/server.properties"
