package lab;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** A topic on one cluster, and what was read of it. */
final class Side implements AutoCloseable {
    final Map<Integer, List<Seen>> seen = new TreeMap<>();
    final String topic;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private static final long READ_NANOS = 60_000_000_000L;

    Side(Command command, String side, String isolation) {
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
        long start = System.nanoTime();
        while (!reached(ends)) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(
                Duration.ofMillis(200))) {
                seen.get(record.partition()).add(new Seen(record));
            }
            if (System.nanoTime() - start > READ_NANOS) {
                throw new IllegalStateException(topic + " cannot be read to its end");
            }
        }
    }

    private boolean reached(Map<TopicPartition, Long> ends) {
        return ends.entrySet().stream()
            .allMatch(end -> consumer.position(end.getKey()) >= end.getValue());
    }

    /** The position behind everything that a reader of this side sees. */
    long end(int partition) {
        TopicPartition place = new TopicPartition(topic, partition);
        return consumer.endOffsets(List.of(place), Duration.ofSeconds(20)).get(place);
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

    /** Where a record stood, and a digest of all that must survive. */
    static final class Seen {
        final long offset;
        final long timestamp;
        final ByteBuffer key;
        final boolean deletes;
        final ByteBuffer digest;

        Seen(ConsumerRecord<byte[], byte[]> record) throws Exception {
            offset = record.offset();
            timestamp = record.timestamp();
            key = record.key() == null ? ByteBuffer.allocate(0) : ByteBuffer.wrap(record.key());
            deletes = record.value() == null;
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
}
