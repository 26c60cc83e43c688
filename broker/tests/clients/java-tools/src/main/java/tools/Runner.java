// Runs Kafka's command-line tools one after the other in one virtual machine: commands come as lines of JSON, answers go as lines of JSON.
package tools;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.utils.Exit;

/**
 * A command: {"id","class","args":[..],"stdin","seconds","background"}; its answer: {"id","exit","out","err","ms"}. A background command's answer
 * comes when it ends. What a tool prints is told apart by the thread group that its threads belong to.
 */
public final class Runner {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final PrintStream ANSWERS = System.out;

    /** Thrown where the tool would end the process. */
    private static final class Ended extends Error {
        Ended() {
            super("RUNNER-ENDED", null, false, false);
        }
    }

    /** The first status counts: a tool may take what is thrown here for a failure of its own and end once more. */
    private static void end(int status) {
        Command command = Command.current();
        if (command != null && command.exit == null) {
            command.exit = status;
        }
        throw new Ended();
    }

    /** The threads of one command, with what they print. */
    private static final class Command extends ThreadGroup {
        final ByteArrayOutputStream out = new ByteArrayOutputStream();
        final ByteArrayOutputStream err = new ByteArrayOutputStream();
        final InputStream in;
        final java.util.Queue<Runnable> hooks = new java.util.concurrent.ConcurrentLinkedQueue<>();
        volatile Integer exit;

        Command(String name, byte[] stdin) {
            super(name);
            in = new ByteArrayInputStream(stdin);
        }

        static Command current() {
            for (ThreadGroup group = Thread.currentThread().getThreadGroup(); group != null; group = group.getParent()) {
                if (group instanceof Command command) {
                    return command;
                }
            }
            return null;
        }

        @Override
        public void uncaughtException(Thread thread, Throwable failure) {
            if (!(failure instanceof Ended)) {
                super.uncaughtException(thread, failure);
            }
        }
    }

    private static final class Routed extends OutputStream {
        private final boolean out;

        Routed(boolean out) {
            this.out = out;
        }

        private OutputStream target() {
            Command command = Command.current();
            return command == null ? OutputStream.nullOutputStream() : out ? command.out : command.err;
        }

        @Override
        public void write(int one) throws java.io.IOException {
            target().write(one);
        }

        @Override
        public void write(byte[] bytes, int from, int length) throws java.io.IOException {
            target().write(bytes, from, length);
        }
    }

    private static final class RoutedInput extends InputStream {
        @Override
        public int read() throws java.io.IOException {
            Command command = Command.current();
            return command == null ? -1 : command.in.read();
        }

        @Override
        public int read(byte[] bytes, int from, int length) throws java.io.IOException {
            Command command = Command.current();
            return command == null ? -1 : command.in.read(bytes, from, length);
        }
    }

    public static void main(String[] args) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Exit.setExitProcedure((status, message) -> end(status));
        Exit.setHaltProcedure((status, message) -> end(status));
        // What would run at the end of the process runs at the end of the command.
        Exit.setShutdownHookAdder((name, runnable) -> {
            Command command = Command.current();
            if (command != null) {
                command.hooks.add(runnable);
            }
        });
        System.setOut(new PrintStream(new Routed(true), true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(new Routed(false), true, StandardCharsets.UTF_8));
        System.setIn(new RoutedInput());
        Map<String, Thread> running = new HashMap<>();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode wanted = JSON.readTree(line);
            Thread thread = start(wanted);
            if (!wanted.path("background").asBoolean()) {
                thread.join();
            } else {
                running.put(wanted.get("id").asText(), thread);
            }
        }
        Runtime.getRuntime().halt(0);
    }

    private static Thread start(JsonNode wanted) {
        Command command = new Command(wanted.get("id").asText(), wanted.path("stdin").asText("").getBytes(StandardCharsets.UTF_8));
        long start = System.nanoTime();
        // A thread outside the group waits, so that it can tell of a tool that does not end.
        Thread waiter = new Thread(() -> {
            Thread tool = new Thread(command, () -> {
                run(command, wanted);
                command.hooks.forEach(Runnable::run);
            }, "tool");
            tool.start();
            boolean late = false;
            try {
                tool.join(wanted.path("seconds").asLong(60) * 1000);
                late = tool.isAlive();
                if (late) {
                    command.interrupt();
                    tool.join(5_000);
                }
            } catch (InterruptedException impossible) {
                Thread.currentThread().interrupt();
            }
            ObjectNode answer = JSON.createObjectNode().put("id", wanted.get("id").asText())
                    .put("exit", late ? 124 : command.exit == null ? 0 : command.exit)
                    .put("out", command.out.toString(StandardCharsets.UTF_8)).put("err", command.err.toString(StandardCharsets.UTF_8))
                    .put("ms", (System.nanoTime() - start) / 1_000_000);
            synchronized (ANSWERS) {
                ANSWERS.println(answer);
                ANSWERS.flush();
            }
        }, "waiter");
        waiter.start();
        return waiter;
    }

    private static void run(Command command, JsonNode wanted) {
        String[] args = JSON.convertValue(wanted.get("args"), String[].class);
        try {
            Class.forName(wanted.get("class").asText()).getMethod("main", String[].class).invoke(null, (Object) args);
        } catch (InvocationTargetException failure) {
            if (!(failure.getCause() instanceof Ended)) {
                failure.getCause().printStackTrace();
                command.exit = 1;
            }
        } catch (ReflectiveOperationException failure) {
            failure.printStackTrace();
            command.exit = 127;
        }
    }
}
