package lab;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads a topic on the source and its mirror on the target to the end and compares them partition by
 * partition, record by record: key, value, headers in order, timestamp. Waits for the target to catch
 * up with what the source held when the comparison began.
 */
final class Compare {
    private final Command command;
    private final long deadlineNanos;

    Compare(Command command) {
        this.command = command;
        deadlineNanos = System.nanoTime() + command.number("wait_ms", 30_000) * 1_000_000L;
    }

    Map<String, Object> run() throws Exception {
        try (Side source = new Side("source", command.text("isolation", "read_committed"));
             Side target = new Side("target", "read_uncommitted")) {
            source.attach();
            source.readToEnd();
            while (true) {
                target.attach();
                target.readToEnd();
                boolean late = System.nanoTime() > deadlineNanos;
                if (late || !target.seen.isEmpty() && target.count() >= source.count()) {
                    Balance balance = new Balance(source, target);
                    if (late || balance.missing == 0) {
                        return verdict(source, target, balance);
                    }
                }
                TimeUnit.MILLISECONDS.sleep(100);
            }
        }
    }

    private static Map<String, Object> verdict(Side source, Side target, Balance balance) {
        String difference = "";
        for (int partition = 0; partition < partitions(source, target); partition++) {
            if (difference.isEmpty()) {
                difference = firstDifference(partition, source, source.of(partition), target,
                    target.of(partition));
            }
        }
        return new TreeMap<>(Map.of("source_records", source.count(), "target_records",
            target.count(), "missing", balance.missing, "extra", balance.extra, "repeated",
            balance.repeated, "first_difference", difference));
    }

    private static int partitions(Side source, Side target) {
        return Math.max(source.seen.size(), target.seen.size());
    }

    private static String firstDifference(int partition, Side source, List<Seen> wanted,
        Side target, List<Seen> found) {
        int at = 0;
        while (at < wanted.size() && at < found.size()
            && wanted.get(at).digest.equals(found.get(at).digest)) {
            at++;
        }
        if (at == wanted.size() && at == found.size()) {
            return "";
        }
        return source.topic + " partition " + partition + ", record " + at + ": source "
            + source.describe(partition, wanted, at) + ", target "
            + target.describe(partition, found, at);
    }

    /** How often each record stands on either side, order left aside. */
    private static final class Balance {
        long missing;
        long extra;
        long repeated;

        Balance(Side source, Side target) {
            for (int partition = 0; partition < partitions(source, target); partition++) {
                Map<ByteBuffer, Integer> original = new HashMap<>();
                source.of(partition).forEach(seen -> original.merge(seen.digest, 1, Integer::sum));
                Map<ByteBuffer, Integer> left = new HashMap<>(original);
                for (Seen seen : target.of(partition)) {
                    if (left.merge(seen.digest, -1, Integer::sum) < 0) {
                        if (original.containsKey(seen.digest)) {
                            repeated++;
                        } else {
                            extra++;
                        }
                    }
                }
                missing += left.values().stream().filter(n -> n > 0).mapToInt(n -> n).sum();
            }
        }
    }

    /** Where a record stood, and a digest of all that must survive. */
    private static final class Seen {
        final long offset;
        final ByteBuffer digest;

        Seen(ConsumerRecord<byte[], byte[]> record) throws Exception {
            offset = record.offset();
            MessageDigest sha = MessageDigest.getInstance("SHA-256");
            put(sha, record.key());
            put(sha, record.value());
            put(sha, ByteBuffer.allocate(8).putLong(record.timestamp()).array());
            for (Header header : record.headers()) {
                put(sha, header.key().getBytes(java.nio.charset.StandardCharsets.UTF_8));
                put(sha, header.value());
            }
            digest = ByteBuffer.wrap(Arrays.copyOf(sha.digest(), 16));
        }

        private static void put(MessageDigest sha, byte[] bytes) {
            int length = bytes == null ? -1 : bytes.length;
            sha.update(ByteBuffer.allocate(4).putInt(0, length));
            if (bytes != null) {
                sha.update(bytes);
            }
        }
    }

    /** A topic on one cluster, and what was read of it. */
    private final class Side implements AutoCloseable {
        final Map<Integer, List<Seen>> seen = new TreeMap<>();
        private final KafkaConsumer<byte[], byte[]> consumer;
        private final String topic;

        Side(String side, String isolation) {
            topic = command.text(side + "_topic");
            Properties settings = new Properties();
            settings.put("isolation.level", isolation);
            settings.put("auto.offset.reset", "earliest");
            settings.put("enable.auto.commit", "false");
            settings.put("allow.auto.create.topics", "false");
            settings.put("metadata.max.age.ms", "500");
            settings.put("max.poll.records", "10000");
            settings.putAll(command.client(side));
            consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(),
                new ByteArrayDeserializer());
        }

        /** Takes in partitions that appeared since; positions of the others stay. */
        void attach() {
            List<PartitionInfo> known = consumer.listTopics(Duration.ofSeconds(20)).get(topic);
            if (known == null) {
                return;
            }
            List<TopicPartition> partitions = new ArrayList<>();
            for (PartitionInfo info : known) {
                partitions.add(new TopicPartition(topic, info.partition()));
                seen.computeIfAbsent(info.partition(), partition -> new ArrayList<>());
            }
            consumer.assign(partitions);
        }

        void readToEnd() throws Exception {
            Map<TopicPartition, Long> ends =
                consumer.endOffsets(consumer.assignment(), Duration.ofSeconds(20));
            while (!reached(ends)) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(
                    Duration.ofMillis(200))) {
                    seen.get(record.partition()).add(new Seen(record));
                }
                if (System.nanoTime() > deadlineNanos) {
                    throw new IllegalStateException("no end of " + topic + " within the time");
                }
            }
        }

        private boolean reached(Map<TopicPartition, Long> ends) {
            return ends.entrySet().stream()
                .allMatch(end -> consumer.position(end.getKey()) >= end.getValue());
        }

        List<Seen> of(int partition) {
            return seen.getOrDefault(partition, List.of());
        }

        long count() {
            return seen.values().stream().mapToLong(List::size).sum();
        }

        String describe(int partition, List<Seen> records, int at) {
            if (at >= records.size()) {
                return "ends";
            }
            TopicPartition place = new TopicPartition(topic, partition);
            consumer.assign(List.of(place));
            consumer.seek(place, records.get(at).offset);
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(5))) {
                return "offset " + record.offset() + " timestamp " + record.timestamp() + " key "
                    + shown(record.key()) + " value " + shown(record.value()) + " headers "
                    + record.headers();
            }
            return "offset " + records.get(at).offset;
        }

        private String shown(byte[] bytes) {
            return bytes == null ? "null" : "'"
                + new String(bytes, 0, Math.min(bytes.length, 40),
                    java.nio.charset.StandardCharsets.UTF_8) + "'";
        }

        @Override
        public void close() {
            consumer.close();
        }
    }
}
