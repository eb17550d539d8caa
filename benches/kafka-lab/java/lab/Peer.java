package lab;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Kafka's own Java clients at the service of a test: one command per line of standard input, one
 * answer per line of standard output, commands side by side. Ends with its standard input.
 */
public final class Peer {
    private final Map<String, Produce> loads = new ConcurrentHashMap<>();
    private final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    public static void main(String[] args) throws Exception {
        new Peer().serve();
    }

    private void serve() throws Exception {
        ExecutorService pool = Executors.newCachedThreadPool();
        BufferedReader in = new BufferedReader(
            new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Command command = new Command(line);
            pool.execute(() -> answer(command));
        }
        System.exit(0);
    }

    private void answer(Command command) {
        StringBuilder line = new StringBuilder(command.id);
        try {
            Map<String, Object> fields = run(command);
            line.append("\tok");
            fields.forEach((key, value) ->
                line.append('\t').append(key).append('=').append(plain(value)));
        } catch (Throwable failure) {
            Throwable cause = failure;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            line.append("\terror\t").append(plain(command.name + ": " + cause));
        }
        synchronized (out) {
            out.println(line);
        }
    }

    private static String plain(Object value) {
        return String.valueOf(value).replaceAll("[\t\r\n]", " ");
    }

    private Map<String, Object> run(Command command) throws Exception {
        switch (command.name) {
            case "produce":
                Produce load = loads.computeIfAbsent(command.id, id -> new Produce(command));
                return load.run();
            case "stop":
                // Its load may have ended by itself: that is no error.
                Produce running = loads.get(command.text("load"));
                if (running != null) {
                    running.stop();
                }
                return Map.of();
            case "compare":
                return new Compare(command).run();
            case "compare-compacted":
                return new Compare(command).runCompacted();
            case "next-records":
                return new Compare(command).runNextRecords();
            case "commit":
            case "committed":
            case "translated":
                return Groups.run(command);
            case "offset-syncs":
                return Syncs.run(command);
            default:
                return Topics.run(command);
        }
    }
}
