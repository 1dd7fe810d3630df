#!/usr/bin/env bash
# Starts one Apache Kafka node (KRaft, broker and controller in one) on 127.0.0.1:$KAFKA_PORT and returns
# when it is ready. Its data outlive stop.sh and kill -9; WIPE=1 stop.sh removes them. See env.sh.
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
if pid=$(running_pid); then echo "kafka: already up, pid $pid, in $RUN"; exit; fi

# secure prints the settings that differ with KAFKA_SECURE. The last of two lines for one setting counts.
secure() {
  local name password login=org.apache.kafka.common.security
  read -r name password < "$KAFKA_SECURE/admin"
  cat << P
listeners=SASL_SSL://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$((KAFKA_PORT + 1)),SSL://127.0.0.1:$((KAFKA_PORT + 2))
advertised.listeners=SASL_SSL://127.0.0.1:$KAFKA_PORT,SSL://127.0.0.1:$((KAFKA_PORT + 2))
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT,SSL:SSL
inter.broker.listener.name=SASL_SSL
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
ssl.keystore.type=PEM
ssl.keystore.location=$KAFKA_SECURE/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=$KAFKA_SECURE/ca.pem
listener.name.ssl.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]*).*\$/\$1/
listener.name.sasl_ssl.plain.sasl.jaas.config=$login.plain.PlainLoginModule required username="$name" password="$password" $(
    cat "$KAFKA_SECURE/admin" "$KAFKA_SECURE/plain-users" | sed -E 's/(.*) (.*)/user_\1="\2" /' | tr -d '\n');
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$login.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$login.scram.ScramLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=$login.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="$name";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:$name;User:ANONYMOUS
P
}

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
if [ -n "${KAFKA_SECURE:-}" ]; then secure >> "$RUN/server.properties"; fi
# A format that was killed half-way leaves no meta.properties, and is done again.
[ -e "$RUN/data/meta.properties" ] ||
  "$java" -Xmx128m -XX:TieredStopAtLevel=1 -cp "$LIB/*" kafka.tools.StorageTool format --ignore-formatted \
    --cluster-id AAAAAAAAAAAAAAAAAAAAAQ -c "$RUN/server.properties" > "$RUN/format.log" 2>&1 ||
  { cat "$RUN/format.log" >&2; die "could not format $RUN/data"; }
launch "$KAFKA_PORT" "Kafka Server started" \
  "$java" -Xms"$KAFKA_HEAP" -Xmx"$KAFKA_HEAP" -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData \
  -Djava.io.tmpdir="$RUN/tmp" \
  ${KAFKA_SECURE:+-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=debug} -Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
  -cp "$LIB/*" kafka.Kafka "$RUN/server.properties"
