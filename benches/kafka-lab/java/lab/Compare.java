package lab;

import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import lab.Side.Seen;

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
        try (Side source = source(); Side target = target()) {
            Balance balance = caughtUp(source, target);
            String difference = "";
            String inOurs = "";
            for (int partition = 0; partition < partitions(source, target); partition++) {
                List<Seen> wanted = source.of(partition);
                List<Seen> found = target.of(partition);
                if (difference.isEmpty()) {
                    difference = firstDifference(partition, source, wanted, target, found);
                }
                if (inOurs.isEmpty()) {
                    inOurs = firstDifference(partition, source, wanted, target,
                        withoutExtra(wanted, found));
                }
            }
            return new TreeMap<>(Map.of("source_records", source.count(), "target_records",
                target.count(), "missing", balance.missing, "extra", balance.extra, "repeated",
                balance.repeated, "first_difference", difference, "first_difference_in_ours",
                inOurs));
        }
    }

    /**
     * For each position {@code partition:offset} of the source the first and the last position of the
     * target from which a reader goes on with exactly the record that comes next at the source.
     */
    Map<String, Object> runNextRecords() throws Exception {
        try (Side source = source(); Side target = target()) {
            caughtUp(source, target);
            Map<Integer, List<Seen>> ours = new HashMap<>();
            for (int partition = 0; partition < partitions(source, target); partition++) {
                List<Seen> wanted = source.of(partition);
                List<Seen> found = withoutExtra(wanted, target.of(partition));
                String difference = firstDifference(partition, source, wanted, target, found);
                if (!difference.isEmpty()) {
                    throw new IllegalStateException(difference);
                }
                ours.put(partition, found);
            }
            Map<String, Object> answer = new TreeMap<>();
            for (String asked : command.text("positions").split(",")) {
                int partition = Integer.parseInt(asked.substring(0, asked.indexOf(':')));
                long position = Long.parseLong(asked.substring(asked.indexOf(':') + 1));
                List<Seen> there = ours.get(partition);
                int next = firstFrom(source.of(partition), position);
                long first = next == 0 ? 0 : there.get(next - 1).offset + 1;
                long last = next < there.size() ? there.get(next).offset : target.end(partition);
                answer.put(asked, first + "-" + last);
            }
            return answer;
        }
    }

    /**
     * Compares topics that either cleaner may have been at. The timestamps of the load number its records:
     * they grow in each partition as long as nothing came back and nothing came twice, and the newest
     * record of every key is the same on both sides.
     */
    Map<String, Object> runCompacted() throws Exception {
        while (true) {
            try (Side source = source(); Side target = target()) {
                source.attach();
                source.readToEnd();
                target.attach();
                target.readToEnd();
                String difference = "";
                for (int partition = 0; partition < partitions(source, target); partition++) {
                    if (difference.isEmpty()) {
                        difference = differenceInCompacted(partition, source, target);
                    }
                }
                if (difference.isEmpty() || System.nanoTime() > deadlineNanos) {
                    return new TreeMap<>(Map.of("source_records", source.count(),
                        "target_records", target.count(), "difference", difference));
                }
            }
            TimeUnit.MILLISECONDS.sleep(300);
        }
    }

    private static String differenceInCompacted(int partition, Side source, Side target) {
        for (Side side : List.of(source, target)) {
            Seen before = null;
            for (Seen seen : side.of(partition)) {
                if (before != null && seen.timestamp <= before.timestamp) {
                    return side.topic + " partition " + partition + ": offset " + seen.offset
                        + " with timestamp " + seen.timestamp + " comes after offset "
                        + before.offset + " with timestamp " + before.timestamp;
                }
                before = seen;
            }
        }
        Map<ByteBuffer, Seen> wanted = newestOfKeys(source.of(partition));
        Map<ByteBuffer, Seen> found = newestOfKeys(target.of(partition));
        for (Map.Entry<ByteBuffer, Seen> entry : wanted.entrySet()) {
            Seen there = found.remove(entry.getKey());
            if (there == null || !there.digest.equals(entry.getValue().digest)) {
                return source.topic + " partition " + partition + ": the newest record of a key is "
                    + entry.getValue().offset + " at the source, at the target "
                    + (there == null ? "none" : there.offset);
            }
        }
        return found.isEmpty() ? "" : target.topic + " partition " + partition + " has "
            + found.size() + " keys that the source has not";
    }

    /** A key whose newest record deletes it counts as absent: cleaners remove such records in time. */
    private static Map<ByteBuffer, Seen> newestOfKeys(List<Seen> records) {
        Map<ByteBuffer, Seen> newest = new HashMap<>();
        records.forEach(seen -> newest.put(seen.key, seen));
        newest.values().removeIf(seen -> seen.deletes);
        return newest;
    }

    private Side source() {
        return new Side(command, "source", command.text("isolation", "read_committed"));
    }

    private Side target() {
        return new Side(command, "target", command.text("target_isolation", "read_uncommitted"));
    }

    /** Waits until the target lacks nothing or the time is over. */
    private Balance caughtUp(Side source, Side target) throws Exception {
        source.attach();
        source.readToEnd();
        while (true) {
            target.attach();
            target.readToEnd();
            boolean late = System.nanoTime() > deadlineNanos;
            if (late || !target.seen.isEmpty() && target.count() >= source.count()) {
                Balance balance = new Balance(source, target);
                if (late || balance.missing == 0) {
                    return balance;
                }
            }
            TimeUnit.MILLISECONDS.sleep(100);
        }
    }

    private static int firstFrom(List<Seen> records, long position) {
        int low = 0;
        int high = records.size();
        while (low < high) {
            int middle = (low + high) / 2;
            if (records.get(middle).offset < position) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }

    private static List<Seen> withoutExtra(List<Seen> wanted, List<Seen> found) {
        Set<ByteBuffer> known = new HashSet<>();
        wanted.forEach(seen -> known.add(seen.digest));
        return found.stream().filter(seen -> known.contains(seen.digest)).toList();
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
}
