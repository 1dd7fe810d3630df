import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.DoubleSerializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Sends the samples of weir's BenchmarkWindows through Kafka Streams: windows of 10 s, 1 m and 1 h of every
 * series with weir's graces, in RocksDB with changelogs, emitted on close into a topic. It prints a Go
 * benchmark line, the CPU being that of this JVM, once it is warm. Arguments: host:port of a broker, dense
 * or sparse, a folder for the state.
 */
public final class Peer {
    static final int SERIES = 10_000;
    static final int PER_GROUP = 100; // series of one host
    static final long START_MS = 1_700_000_000_000L;

    /** A window size and what was emitted of it. */
    static final class Tier {
        final long sizeMs, graceMs;
        final AtomicLong full = new AtomicLong(), first = new AtomicLong(), wrong = new AtomicLong();

        Tier(long sizeMs, long graceMs) {
            this.sizeMs = sizeMs;
            this.graceMs = graceMs;
        }

        /** The first window that is not whole starts before START_MS. */
        void emitted(long startMs, long count, long stepMs) {
            if (startMs < START_MS) first.incrementAndGet();
            else if (count == sizeMs / stepMs) full.incrementAndGet();
            else wrong.incrementAndGet();
        }
    }

    /** What a window keeps. First and last are by arrival: the aggregator of the DSL is not told the time. */
    record Window(long count, double sum, double min, double max, double first, double last) {
        static final Window EMPTY = new Window(0, 0, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY, 0, 0);

        Window add(double v) {
            return new Window(count + 1, sum + v, Math.min(min, v), Math.max(max, v), count == 0 ? v : first, v);
        }

        byte[] bytes() {
            return ByteBuffer.allocate(48).putLong(count).putDouble(sum).putDouble(min).putDouble(max).putDouble(first).putDouble(last).array();
        }

        static Window of(byte[] v) {
            ByteBuffer b = ByteBuffer.wrap(v);
            return new Window(b.getLong(), b.getDouble(), b.getDouble(), b.getDouble(), b.getDouble(), b.getDouble());
        }
    }

    static long cpuNanos() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    public static void main(String[] args) throws Exception {
        String broker = args[0], load = args[1], stateDir = args[2];
        long stepMs;
        int warm, rounds; // rounds of one sample of each series: until the JIT has done its work, and measured
        switch (load) {
            case "dense" -> { stepMs = 1000; warm = 60; rounds = 60; }
            case "sparse" -> { stepMs = 10_000; warm = 25; rounds = 30; }
            default -> throw new IllegalArgumentException("load " + load + ": must be dense or sparse");
        }
        String in = "peer-samples-" + load, out = "peer-windows-" + load;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            // The samples are of a day long past, which the broker's default retention would delete.
            Map<String, String> keep = Map.of("retention.ms", "-1");
            admin.createTopics(List.of(new NewTopic(in, 1, (short) 1).configs(keep), new NewTopic(out, 1, (short) 1).configs(keep))).all().get();
        }
        produce(broker, in, stepMs, warm + rounds);

        List<Tier> tiers = List.of(new Tier(10_000, 2000), new Tier(60_000, 10_000), new Tier(3_600_000, 60_000));
        AtomicLong applied = new AtomicLong(); // samples, to the smallest tier
        Serde<Window> windowSerde = Serdes.serdeFrom((t, w) -> w == null ? null : w.bytes(), (t, b) -> b == null ? null : Window.of(b));
        StreamsBuilder topology = new StreamsBuilder();
        KGroupedStream<String, Double> bySeries =
            topology.stream(in, Consumed.with(Serdes.String(), Serdes.Double())).groupByKey(Grouped.with(Serdes.String(), Serdes.Double()));
        for (Tier tier : tiers) {
            boolean smallest = tier == tiers.get(0);
            bySeries
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMillis(tier.sizeMs), Duration.ofMillis(tier.graceMs)))
                .emitStrategy(EmitStrategy.onWindowClose())
                .aggregate(
                    () -> Window.EMPTY,
                    (series, value, window) -> {
                        if (smallest) applied.lazySet(applied.getPlain() + 1);
                        return window.add(value);
                    },
                    Materialized.<String, Window, WindowStore<Bytes, byte[]>>as("tier-" + tier.sizeMs).withKeySerde(Serdes.String()).withValueSerde(windowSerde))
                .toStream()
                .peek((window, value) -> tier.emitted(window.window().start(), value.count(), stepMs))
                .to(out, Produced.with(WindowedSerdes.timeWindowedSerdeFrom(String.class, tier.sizeMs), windowSerde));
        }

        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, "peer-" + load);
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, broker);
        config.put(StreamsConfig.STATE_DIR_CONFIG, stateDir);
        config.put("auto.offset.reset", "earliest");
        config.put(StreamsConfig.topicPrefix("retention.ms"), "-1");
        // By default closed windows are looked for once a second of the wall clock. In a replay that is minutes
        // of event time, after which their segments have expired unseen.
        config.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_WINDOWED_AGGREGATION, 0L);

        AtomicReference<Throwable> failure = new AtomicReference<>();
        long warmed = (long) warm * SERIES, all = warmed + (long) rounds * SERIES;
        double rate;
        try (KafkaStreams streams = new KafkaStreams(topology.build(), config)) {
            streams.setUncaughtExceptionHandler(e -> {
                failure.set(e);
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            streams.start();
            long from = await(applied, warmed, failure);
            long before = cpuNanos();
            await(applied, all, failure);
            rate = (all - from) / ((cpuNanos() - before) / 1e9);
        }
        check(tiers, stepMs, warm + rounds);
        System.out.printf("BenchmarkKafkaStreams/series=%d/%s\t%d\t%.0f samples/cpu-s%n", SERIES, load, rounds, rate);
    }

    static void produce(String broker, String topic, long stepMs, int rounds) throws Exception {
        List<String> series = new ArrayList<>();
        for (int h = 0; h < SERIES / PER_GROUP; h++)
            for (int i = 0; i < PER_GROUP; i++)
                series.add("system.metric_%d{env=\"prod\",host=\"web-%05d\",region=\"eu-west-%d\",service=\"shop-%d\"}".formatted(i, h, h % 3, h % 40));
        AtomicReference<Exception> failure = new AtomicReference<>();
        Map<String, Object> config = Map.of("bootstrap.servers", broker, "linger.ms", 20, "batch.size", 256 << 10);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new DoubleSerializer())) {
            for (long n = 1; n <= rounds; n++)
                for (int s = 0; s < SERIES; s++) {
                    long h = s / PER_GROUP, i = s % PER_GROUP;
                    long at = START_MS + (n - 1) * stepMs + h * 7919 % stepMs % 10_000;
                    producer.send(new ProducerRecord<>(topic, 0, at, series.get(s), (double) (i * n % 977) * 1.1), (m, e) -> {
                        if (e != null) failure.set(e);
                    });
                }
        }
        if (failure.get() != null) throw failure.get();
    }

    /** Waits until the counter has come to n, and returns it. */
    static long await(AtomicLong counter, long n, AtomicReference<Throwable> failure) throws Exception {
        long last = -1, since = System.nanoTime();
        while (true) {
            long now = counter.get();
            if (now >= n) return now;
            if (failure.get() != null) throw new IllegalStateException("Kafka Streams ended", failure.get());
            if (now != last) {
                last = now;
                since = System.nanoTime();
            } else if (System.nanoTime() - since > 60_000_000_000L) {
                throw new IllegalStateException("stood still at " + now + " of " + n + " samples for 60 s");
            }
            Thread.sleep(5);
        }
    }

    /** Every window that closed was emitted once and holds all of its samples. */
    static void check(List<Tier> tiers, long stepMs, int rounds) {
        long streamMs = START_MS + (rounds - 1) * stepMs;
        for (Tier tier : tiers) {
            long closeMs = streamMs - tier.graceMs;
            long firstWhole = (START_MS + tier.sizeMs - 1) / tier.sizeMs;
            long want = Math.max(0, closeMs / tier.sizeMs - firstWhole) * SERIES;
            long got = tier.full.get();
            if (tier.wrong.get() != 0 || got < want || got > want + SERIES)
                throw new IllegalStateException("windows of %d ms: %d whole, want %d; %d with the wrong count".formatted(tier.sizeMs, got, want, tier.wrong.get()));
        }
    }
}
