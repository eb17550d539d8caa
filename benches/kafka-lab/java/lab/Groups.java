package lab;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.connect.mirror.MirrorClient;
import org.apache.kafka.connect.mirror.RemoteClusterUtils;

/**
 * What consumer groups have committed, and what MirrorMaker 2's client library makes of it on the other
 * cluster. Positions are written as {@code topic:partition:offset}, with commas between them.
 */
final class Groups {
    private Groups() {
    }

    static Map<String, Object> run(Command command) throws Exception {
        if (command.name.equals("translated")) {
            return translated(command);
        }
        try (Admin admin = Admin.create(command.client("bootstrap"))) {
            return command.name.equals("commit") ? commit(admin, command)
                : committed(admin, command);
        }
    }

    /** Commits on behalf of groups that have no members. */
    private static Map<String, Object> commit(Admin admin, Command command) throws Exception {
        List<KafkaFuture<Void>> pending = new ArrayList<>();
        for (Map.Entry<String, String> group : command.under("group.").entrySet()) {
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            for (String position : group.getValue().split(",")) {
                String[] parts = position.split(":");
                offsets.put(new TopicPartition(parts[0], Integer.parseInt(parts[1])),
                    new OffsetAndMetadata(Long.parseLong(parts[2])));
            }
            pending.add(admin.alterConsumerGroupOffsets(group.getKey(), offsets).all());
        }
        for (KafkaFuture<Void> one : pending) {
            one.get();
        }
        return Map.of();
    }

    private static Map<String, Object> committed(Admin admin, Command command) throws Exception {
        Map<String, ListConsumerGroupOffsetsSpec> wanted = new HashMap<>();
        for (String group : command.text("groups").split(",")) {
            wanted.put(group, new ListConsumerGroupOffsetsSpec());
        }
        return written(admin.listConsumerGroupOffsets(wanted).all().get());
    }

    private static Map<String, Object> translated(Command command) throws Exception {
        Properties client = command.client("bootstrap");
        Map<String, Object> settings = new HashMap<>();
        client.forEach((key, value) -> settings.put((String) key, value));
        String alias = command.text("alias");
        try (MirrorClient mirror = new MirrorClient(settings)) {
            // Reading a topic that is not there yet would be tried for a minute.
            if (!mirror.checkpointTopics().contains(mirror.replicationPolicy()
                .checkpointsTopic(alias))) {
                return Map.of();
            }
        }
        return written(RemoteClusterUtils.translateOffsets(settings, alias,
            Pattern.compile(command.text("pattern")), Duration.ofSeconds(30)));
    }

    private static Map<String, Object> written(
        Map<String, Map<TopicPartition, OffsetAndMetadata>> groups) {
        Map<String, Object> answer = new TreeMap<>();
        groups.forEach((group, offsets) -> {
            List<String> positions = new ArrayList<>();
            offsets.forEach((place, offset) -> {
                if (offset != null) {
                    positions.add(place.topic() + ":" + place.partition() + ":" + offset.offset());
                }
            });
            answer.put(group, String.join(",", positions));
        });
        return answer;
    }
}
