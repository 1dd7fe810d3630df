#!/usr/bin/env bash
# nodetool of the Cassandra that start.sh started, for example: nodetool.sh flush
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
java=$(find_java) || die "needs a Java 17 (set JAVA to its path)"
mkdir -p "$RUN/conf"
echo '<configuration><root level="ERROR"/></configuration>' > "$RUN/conf/logback-tools.xml"
exec "$java" -Xmx64M -XX:TieredStopAtLevel=1 "${OPENS[@]}" -Dcassandra.config="file://$RUN/conf/cassandra.yaml" \
  -Dcassandra.storagedir="$RUN/data" -Dlogback.configurationFile="$RUN/conf/logback-tools.xml" \
  -cp "$RUN/conf:$LIB/*" org.apache.cassandra.tools.NodeTool -h 127.0.0.1 -p "$JMX_PORT" "$@"
