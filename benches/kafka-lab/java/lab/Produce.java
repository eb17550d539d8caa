package lab;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.errors.InvalidTxnStateException;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Produces records that depend only on the seed and their number. Shape {@code plain} has unique keys
 * and values; {@code mixed} walks through everything that a record may be: null and empty keys and
 * values, headers that repeat, that are null, that are not text.
 */
final class Produce {
    private static final int MOST_REFUSED = 5;

    private final Command command;
    private final AtomicLong acknowledged = new AtomicLong();
    private final AtomicLong failed = new AtomicLong();
    private final AtomicReference<String> firstError = new AtomicReference<>("");
    private final String topic;
    private final long seed;
    private final long records;
    private final boolean mixed;
    private final int keys;
    private final int valueBytes;
    private final long firstTimestampMs;
    private final long start = System.nanoTime();
    private volatile boolean stopped;

    Produce(Command command) {
        this.command = command;
        topic = command.text("topic");
        seed = command.number("seed", 1);
        records = command.number("records", 1);
        mixed = command.text("shape", "plain").equals("mixed");
        keys = (int) command.number("keys", 0);
        valueBytes = (int) command.number("value_bytes", 100);
        firstTimestampMs = command.number("first_timestamp_ms", 0);
    }

    Map<String, Object> run() throws Exception {
        long perTransaction = command.number("transaction_records", 0);
        if (perTransaction > 0) {
            transactions(perTransaction);
        } else {
            try (KafkaProducer<byte[], byte[]> producer = producer(false)) {
                send(producer, 0, records);
                producer.flush();
            }
        }
        return new TreeMap<>(Map.of("acknowledged", acknowledged.get(), "failed", failed.get(),
            "first_error", firstError.get()));
    }

    private void transactions(long each) throws Exception {
        KafkaProducer<byte[], byte[]> producer = producer(true);
        try {
            producer.initTransactions();
            int refused = 0;
            for (long first = 0; first < records && !stopped;) {
                long acknowledgedBefore = acknowledged.get();
                long failedBefore = failed.get();
                String errorBefore = firstError.get();
                try {
                    producer.beginTransaction();
                    send(producer, first, Math.min(first + each, records));
                    end(producer, first / each);
                    first += each;
                } catch (KafkaException error) {
                    if (!isOfAnother(error) || ++refused > MOST_REFUSED) {
                        throw error;
                    }
                    producer.close(Duration.ZERO);
                    acknowledged.set(acknowledgedBefore);
                    failed.set(failedBefore);
                    firstError.set(errorBefore);
                    producer = producer(true);
                    producer.initTransactions();
                }
            }
        } finally {
            producer.close();
        }
    }

    /** A busy broker may hold a transaction for one that has ended; it is aborted then and done once more. */
    private static boolean isOfAnother(Throwable error) {
        return error != null
            && (error instanceof InvalidTxnStateException || isOfAnother(error.getCause()));
    }

    private void send(KafkaProducer<byte[], byte[]> producer, long from, long to) throws Exception {
        int partitions = producer.partitionsFor(topic).size();
        long rate = command.number("rate", 0);
        for (long i = from; i < to && !stopped; i++) {
            pace(start, rate, i);
            send(producer, record(i, partitions));
        }
    }

    /** What was sent is still brought to its end. */
    void stop() {
        stopped = true;
    }

    private KafkaProducer<byte[], byte[]> producer(boolean transactional) {
        Properties settings = new Properties();
        settings.put("acks", "all");
        settings.put("compression.type", command.text("codec", "none"));
        settings.put("linger.ms", command.text("linger_ms", "5"));
        settings.put("batch.size", command.text("batch_bytes", "16384"));
        settings.put("reconnect.backoff.max.ms", "200");
        // Whoever takes brokers down knows when they come back.
        settings.put("delivery.timeout.ms", "900000");
        settings.put("max.block.ms", "900000");
        if (transactional) {
            settings.put("transactional.id", "lab-" + topic + "-" + seed);
        }
        settings.putAll(command.client("bootstrap"));
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Every third transaction is aborted. */
    private static void end(KafkaProducer<byte[], byte[]> producer, long transaction) {
        if (transaction % 3 == 1) {
            producer.flush();
            producer.abortTransaction();
        } else {
            producer.commitTransaction();
        }
    }

    private static void pace(long startNanos, long rate, long sent) throws InterruptedException {
        if (rate > 0) {
            long dueNanos = startNanos + sent * 1_000_000_000L / rate;
            long waitNanos = dueNanos - System.nanoTime();
            if (waitNanos > 1_000_000) {
                TimeUnit.NANOSECONDS.sleep(waitNanos);
            }
        }
    }

    private void send(KafkaProducer<byte[], byte[]> producer, ProducerRecord<byte[], byte[]> it) {
        producer.send(it, (metadata, error) -> {
            if (error == null) {
                acknowledged.incrementAndGet();
            } else {
                failed.incrementAndGet();
                firstError.compareAndSet("", error.toString());
            }
        });
    }

    private ProducerRecord<byte[], byte[]> record(long i, int partitions) {
        int partition = (int) command.number("partition", i % partitions);
        Long timestamp = firstTimestampMs == 0 ? null : Long.valueOf(firstTimestampMs + i);
        ProducerRecord<byte[], byte[]> record =
            new ProducerRecord<>(topic, partition, timestamp, key(i), value(i));
        if (mixed) {
            headers(record.headers(), i);
        }
        return record;
    }

    private byte[] key(long i) {
        if (keys > 0) {
            // Spread, so that compaction leaves holes inside batches and not only whole batches out.
            long spread = ((i + seed) * 0x9E3779B97F4A7C15L) >>> 24;
            return bytes("key-" + spread % keys);
        }
        if (mixed && i % 5 == 0) {
            return null;
        }
        return mixed && i % 11 == 0 ? new byte[0] : bytes("key-" + seed + "-" + i);
    }

    private byte[] value(long i) {
        if (mixed && i % 17 == 3) {
            return null;
        }
        if (mixed && i % 23 == 4) {
            return new byte[0];
        }
        StringBuilder text = new StringBuilder(valueBytes + 32);
        text.append("value-").append(seed).append('-').append(i).append(' ');
        while (text.length() < valueBytes) {
            text.append(Long.toHexString((i + text.length()) * 0x9E3779B97F4A7C15L));
        }
        text.setLength(Math.max(valueBytes, 24));
        return bytes(text.toString());
    }

    private static void headers(Headers headers, long i) {
        if (i % 3 == 0) {
            headers.add("repeated", bytes("first " + i)).add("repeated", bytes("second"));
        }
        if (i % 7 == 0) {
            headers.add("null", null).add("", new byte[0]);
        }
        if (i % 4 == 1) {
            headers.add("naïve ✓", new byte[] {(byte) 0xff, 0, (byte) 0x80, (byte) i});
        }
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
