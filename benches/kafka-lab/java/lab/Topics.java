package lab;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** What the Admin client does for a test: topics, partitions, configurations, offsets. */
final class Topics {
    private Topics() {
    }

    static Map<String, Object> run(Command command) throws Exception {
        try (Admin admin = Admin.create(command.client("bootstrap"))) {
            switch (command.name) {
                case "create":
                    return create(admin, command);
                case "grow":
                    return grow(admin, command);
                case "delete":
                    admin.deleteTopics(List.of(command.text("topic"))).all().get();
                    return Map.of();
                case "delete-records":
                    return deleteRecords(admin, command);
                case "configure":
                    return configure(admin, command);
                case "describe-config":
                    return describeConfig(admin, command);
                case "list":
                    return Map.of("topics",
                        String.join(",", new TreeSet<>(admin.listTopics().names().get())));
                case "offsets":
                    return offsets(admin, command);
                default:
                    throw new IllegalArgumentException("no such command");
            }
        }
    }

    /** Returns only when every partition has a leader, so that a producer can start at once. */
    private static Map<String, Object> create(Admin admin, Command command) throws Exception {
        String topic = command.text("topic");
        NewTopic wanted = new NewTopic(topic, Optional.of((int) command.number("partitions", 1)),
            Optional.of((short) command.number("replication", 1)));
        admin.createTopics(List.of(wanted.configs(command.under("config.")))).all().get();
        awaitPartitions(admin, topic, (int) command.number("partitions", 1));
        return Map.of();
    }

    private static Map<String, Object> grow(Admin admin, Command command) throws Exception {
        int partitions = (int) command.number("partitions", 1);
        admin.createPartitions(
            Map.of(command.text("topic"), NewPartitions.increaseTo(partitions))).all().get();
        awaitPartitions(admin, command.text("topic"), partitions);
        return Map.of();
    }

    /**
     * A broker is named as leader a moment before it serves the partition. A producer that pipelines into
     * that moment may have its second batch taken as the first, and can never deliver the first; the
     * answer to ListOffsets, which the client repeats until it comes, is the sign that the moment is over.
     */
    private static void awaitPartitions(Admin admin, String topic, int partitions)
        throws Exception {
        for (int attempt = 0; attempt < 200; attempt++) {
            try {
                long led = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic)
                    .partitions().stream().filter(p -> p.leader() != null).count();
                if (led == partitions) {
                    ends(admin, topic);
                    return;
                }
            } catch (java.util.concurrent.ExecutionException unknownYet) {
                // The topic has not reached this broker's metadata.
            }
            TimeUnit.MILLISECONDS.sleep(50);
        }
        throw new IllegalStateException(topic + " got no leaders for its partitions");
    }

    private static Map<String, Object> deleteRecords(Admin admin, Command command)
        throws Exception {
        TopicPartition partition =
            new TopicPartition(command.text("topic"), (int) command.number("partition", 0));
        RecordsToDelete records = RecordsToDelete.beforeOffset(command.number("before", 0));
        admin.deleteRecords(Map.of(partition, records)).all().get();
        return Map.of();
    }

    private static ConfigResource resource(Command command) {
        String topic = command.text("topic", null);
        return topic == null
            ? new ConfigResource(ConfigResource.Type.BROKER, command.text("broker"))
            : new ConfigResource(ConfigResource.Type.TOPIC, topic);
    }

    private static Map<String, Object> configure(Admin admin, Command command) throws Exception {
        List<AlterConfigOp> changes = new ArrayList<>();
        command.under("config.").forEach((key, value) -> changes.add(
            new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET)));
        admin.incrementalAlterConfigs(Map.of(resource(command), changes)).all().get();
        return Map.of();
    }

    private static Map<String, Object> describeConfig(Admin admin, Command command)
        throws Exception {
        ConfigResource resource = resource(command);
        Map<String, Object> found = new TreeMap<>();
        admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()
            .forEach(entry -> found.put(entry.name(), entry.value()));
        return found;
    }

    private static Map<String, Object> offsets(Admin admin, Command command) throws Exception {
        Map<String, Object> found = new TreeMap<>();
        ends(admin, command.text("topic")).forEach((partition, info) ->
            found.put(String.valueOf(partition.partition()), info.offset()));
        return found;
    }

    private static Map<TopicPartition, ListOffsetsResultInfo> ends(Admin admin, String topic)
        throws Exception {
        Map<TopicPartition, OffsetSpec> wanted = new HashMap<>();
        admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions()
            .forEach(p -> wanted.put(new TopicPartition(topic, p.partition()), OffsetSpec.latest()));
        return admin.listOffsets(wanted).all().get();
    }
}
