package lab;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;

/** One line of work: an id, a name and key=value fields, separated by tabs. */
final class Command {
    final String id;
    final String name;
    private final Map<String, String> fields = new LinkedHashMap<>();

    Command(String line) {
        String[] parts = line.split("\t", -1);
        id = parts[0];
        name = parts[1];
        for (int i = 2; i < parts.length; i++) {
            int eq = parts[i].indexOf('=');
            fields.put(parts[i].substring(0, eq), parts[i].substring(eq + 1));
        }
    }

    String text(String key) {
        String value = fields.get(key);
        if (value == null) {
            throw new IllegalArgumentException(name + " needs the field " + key);
        }
        return value;
    }

    String text(String key, String otherwise) {
        return fields.getOrDefault(key, otherwise);
    }

    long number(String key, long otherwise) {
        String value = fields.get(key);
        return value == null ? otherwise : Long.parseLong(value);
    }

    /** The fields whose names start with the prefix, without it. */
    Map<String, String> under(String prefix) {
        Map<String, String> found = new LinkedHashMap<>();
        fields.forEach((key, value) -> {
            if (key.startsWith(prefix)) {
                found.put(key.substring(prefix.length()), value);
            }
        });
        return found;
    }

    /** Client settings: the cluster's address and everything under {@code client.}. */
    Properties client(String bootstrapField) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", text(bootstrapField));
        settings.putAll(under("client."));
        return settings;
    }
}
