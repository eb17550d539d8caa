import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/** Answers what java.util.regex says: pattern and subject in, one byte out. */
public class Oracle {
    static String text(DataInputStream in) throws IOException {
        byte[] bytes = new byte[in.readInt()];
        in.readFully(bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    static int answer(String pattern, String subject) {
        try {
            return Pattern.compile(pattern).matcher(subject).matches() ? 1 : 0;
        } catch (PatternSyntaxException e) {
            return 2;
        } catch (StackOverflowError e) {
            return 3;
        }
    }

    public static void main(String[] args) throws IOException {
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in, 1 << 16));
        byte[] answers = new byte[in.readInt()];
        for (int i = 0; i < answers.length; i++) {
            answers[i] = (byte) answer(text(in), text(in));
        }
        OutputStream out = System.out;
        out.write(answers);
        out.flush();
    }
}
