package lab;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.connect.mirror.OffsetSync;

/** What MirrorMaker 2's own class reads in an offset-syncs topic: the last sync of each partition. */
final class Syncs {
    private Syncs() {
    }

    static Map<String, Object> run(Command command) {
        Properties client = command.client("bootstrap");
        TopicPartition syncs = new TopicPartition(command.text("topic"), 0);
        Map<String, Object> answer = new TreeMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(client,
            new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(syncs));
            consumer.seekToBeginning(List.of(syncs));
            long end = consumer.endOffsets(List.of(syncs)).get(syncs);
            while (consumer.position(syncs) < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    OffsetSync sync = OffsetSync.deserializeRecord(record);
                    TopicPartition place = sync.topicPartition();
                    answer.put(place.topic() + ":" + place.partition(),
                        sync.upstreamOffset() + ":" + sync.downstreamOffset());
                }
            }
        }
        return answer;
    }
}
