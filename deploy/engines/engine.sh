# Sourced by the scripts of both engines. Expects NAME (kafka, cassandra) and RUN, the folder
# that holds all that one running engine writes: its data, its log (out.log) and its pid.
# Jars are fetched once into a folder of the user's cache that is named for the pom's content,
# so that another version is another folder and clones share the download.

ENGINES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${WEIR_CACHE:-${XDG_CACHE_HOME:-~/.cache}/weir}
LIB="$CACHE/lib/$NAME-$(cksum < "$ENGINES/$NAME/pom.xml" | cut -d' ' -f1)"

die() { printf '%s: %s\n' "$NAME" "$*" >&2; exit 1; }

# find_java prints the path of a Java 17: Cassandra 5.0 runs on no newer one, and Kafka 4 on no older.
find_java() {
  local java version
  for java in ${JAVA:+"$JAVA"} java ${JAVA_HOME:+"$JAVA_HOME/bin/java"} /usr/lib/jvm/*17*/bin/java /usr/lib/jvm/*/bin/java /opt/*/bin/java; do
    command -v "$java" > /dev/null 2>&1 || continue
    version=$("$java" -version 2>&1) || continue
    case $version in *'version "17'[.\"]*) command -v "$java"; return ;; esac
  done
  return 1
}

# fetch_jars fills $LIB. It moves the finished folder into place, so a broken download leaves nothing behind.
fetch_jars() {
  [ -d "$LIB" ] && return
  command -v mvn > /dev/null || die "needs Maven (mvn) to fetch its jars"
  local fresh
  mkdir -p "$(dirname "$LIB")"
  fresh=$(mktemp -d "$LIB.XXXXXX")
  mvn -q -B -f "$ENGINES/$NAME/pom.xml" dependency:copy-dependencies -DoutputDirectory="$fresh" -DincludeScope=runtime >&2 ||
    { rm -rf "$fresh"; die "Maven could not fetch the jars of $ENGINES/$NAME/pom.xml"; }
  mv -T "$fresh" "$LIB" 2> /dev/null || rm -rf "$fresh" # another start was quicker
}

# running_pid prints the engine's pid. A pid file that a crash left behind may name a stranger by
# now: the process counts only if its command line names $RUN.
running_pid() {
  local pid
  pid=$(cat "$RUN/pid" 2> /dev/null) && [ -n "$pid" ] || return 1
  grep -zqF "$RUN/" "/proc/$pid/cmdline" 2> /dev/null || return 1
  echo "$pid"
}

# alive PID: it runs, or is on its way out and may still hold its ports and files. A zombie is not alive.
alive() { grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2> /dev/null; }

answers() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

# launch PORT LOGLINE COMMAND… starts the engine in a session of its own (a Ctrl-C at the terminal
# does not reach it) and returns when it has logged LOGLINE and PORT answers, within 90 s.
launch() {
  local port=$1 line=$2 pid
  shift 2
  # The last thread of a life that was killed closes its socket a moment later than the process is gone.
  for _ in $(seq 1 30); do answers "$port" || break; sleep 0.1; done
  answers "$port" && die "port $port is taken by another process"
  [ -e "$RUN/out.log" ] && mv "$RUN/out.log" "$RUN/out.log.1"
  setsid "$@" > "$RUN/out.log" 2>&1 < /dev/null &
  pid=$!
  echo "$pid" > "$RUN/pid"
  for _ in $(seq 1 900); do
    if grep -qF "$line" "$RUN/out.log" && answers "$port"; then
      echo "$NAME: up on 127.0.0.1:$port, pid $pid, in $RUN"
      return
    fi
    kill -0 "$pid" 2> /dev/null || { tail -n 30 "$RUN/out.log" >&2; die "ended while starting; the end of $RUN/out.log is above"; }
    sleep 0.1
  done
  tail -n 30 "$RUN/out.log" >&2
  kill -KILL "$pid"
  die "was not ready within 90 s; the end of $RUN/out.log is above"
}

# stop SIGNAL ends the engine: TERM waits 30 s for an orderly end and then kills. With WIPE=1 its folder goes as well.
stop() {
  local pid
  if pid=$(running_pid); then
    kill "-$1" "$pid" 2> /dev/null || true
    for _ in $(seq 1 300); do alive "$pid" || break; sleep 0.1; done
    if alive "$pid"; then
      echo "$NAME: pid $pid did not end within 30 s: killed" >&2
      kill -KILL "$pid" 2> /dev/null || true
      for _ in $(seq 1 100); do alive "$pid" || break; sleep 0.1; done
    fi
  fi
  rm -f "$RUN/pid"
  if [ "${WIPE:-0}" = 1 ]; then rm -rf "$RUN"; fi
}
