import java.io.BufferedInputStream;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import java.util.TreeSet;

/** Answers what java.util.Properties reads: files in, the number of entries and the entries out. */
public class Oracle {
    static void text(DataOutputStream out, String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        out.writeInt(bytes.length);
        out.write(bytes);
    }

    public static void main(String[] args) throws IOException {
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in, 1 << 16));
        ByteArrayOutputStream answers = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(answers);
        int files = in.readInt();
        for (int i = 0; i < files; i++) {
            byte[] bytes = new byte[in.readInt()];
            in.readFully(bytes);
            Properties properties = new Properties();
            try {
                properties.load(new ByteArrayInputStream(bytes));
            } catch (IllegalArgumentException e) {
                out.writeInt(-1);
                continue;
            }
            out.writeInt(properties.size());
            for (String key : new TreeSet<>(properties.stringPropertyNames())) {
                text(out, key);
                text(out, properties.getProperty(key));
            }
        }
        System.out.write(answers.toByteArray());
        System.out.flush();
    }
}
