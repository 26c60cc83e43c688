// The Java client program: the common command line of broker/tests/clients/README.md over kafka-clients.
package interop;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.io.IOException;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

public final class Main {
    static final ObjectMapper JSON = new ObjectMapper();
    private static final BufferedWriter OUT = new BufferedWriter(
            new OutputStreamWriter(new FileOutputStream(FileDescriptor.out), StandardCharsets.UTF_8));
    private static final Set<String> FLAGS = Set.of("idempotent", "commit");

    final List<String> words = new ArrayList<>();
    final Map<String, String> options = new HashMap<>();

    public static void main(String[] args) {
        try {
            new Main(args).run();
        } catch (Throwable failure) {
            System.err.println(String.join(" ", args));
            failure.printStackTrace();
            System.exit(1);
        }
        System.exit(0);
    }

    private Main(String[] args) {
        for (int i = 0; i < args.length; i++) {
            if (!args[i].startsWith("--")) {
                words.add(args[i]);
            } else if (FLAGS.contains(args[i].substring(2))) {
                options.put(args[i].substring(2), "true");
            } else {
                options.put(args[i].substring(2), args[++i]);
            }
        }
    }

    private void run() throws Exception {
        switch (words.get(0)) {
            case "version" -> print(JSON.createObjectNode().put("client", "kafka-clients (Java)").put("version", AppInfoParser.getVersion()));
            case "create" -> create();
            case "delete" -> delete();
            case "describe" -> describe();
            case "list-offsets" -> listOffsets();
            case "produce" -> produce();
            case "consume" -> consume();
            case "group-consume" -> groupConsume();
            case "member" -> new Member(this).run();
            case "group-offsets" -> Member.groupOffsets(this);
            case "group-reset" -> Member.groupReset(this);
            default -> throw new IllegalArgumentException("unknown command " + words.get(0));
        }
    }

    // Topics

    private void create() throws Exception {
        try (Admin admin = Admin.create(properties())) {
            int partitions = Integer.parseInt(words.get(2));
            admin.createTopics(topics().stream().map(name -> new NewTopic(name, partitions, (short) 1)).toList())
                    .all().get(timeout(), TimeUnit.SECONDS);
        }
    }

    private void delete() throws Exception {
        try (Admin admin = Admin.create(properties())) {
            admin.deleteTopics(topics()).all().get(timeout(), TimeUnit.SECONDS);
        }
    }

    private void describe() throws Exception {
        try (Admin admin = Admin.create(properties())) {
            TopicDescription topic = described(admin, words.get(1));
            for (TopicPartitionInfo partition : topic.partitions()) {
                ObjectNode line = JSON.createObjectNode().put("topic", topic.name()).put("partition", partition.partition())
                        .put("leader", partition.leader().id());
                partition.replicas().stream().map(Node::id).forEach(line.putArray("replicas")::add);
                partition.isr().stream().map(Node::id).forEach(line.putArray("isr")::add);
                print(line);
            }
        }
    }

    TopicDescription described(Admin admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get(timeout(), TimeUnit.SECONDS).get(topic);
    }

    private void listOffsets() throws Exception {
        String topic = words.get(1);
        try (Admin admin = Admin.create(properties())) {
            List<TopicPartition> partitions = described(admin, topic).partitions().stream()
                    .map(partition -> new TopicPartition(topic, partition.partition())).toList();
            Map<TopicPartition, ListOffsetsResultInfo> earliest = offsets(admin, partitions, OffsetSpec.earliest());
            Map<TopicPartition, ListOffsetsResultInfo> latest = offsets(admin, partitions, OffsetSpec.latest());
            Map<TopicPartition, ListOffsetsResultInfo> at = options.containsKey("timestamp")
                    ? offsets(admin, partitions, OffsetSpec.forTimestamp(Long.parseLong(options.get("timestamp")))) : null;
            for (TopicPartition partition : partitions) {
                ObjectNode line = JSON.createObjectNode().put("topic", topic).put("partition", partition.partition())
                        .put("earliest", earliest.get(partition).offset()).put("latest", latest.get(partition).offset());
                if (at != null) {
                    line.put("at", at.get(partition).offset());
                }
                print(line);
            }
        }
    }

    Map<TopicPartition, ListOffsetsResultInfo> offsets(Admin admin, List<TopicPartition> partitions, OffsetSpec spec) throws Exception {
        Map<TopicPartition, OffsetSpec> request = new HashMap<>();
        partitions.forEach(partition -> request.put(partition, spec));
        return admin.listOffsets(request).all().get(timeout(), TimeUnit.SECONDS);
    }

    // Produce

    private void produce() throws Exception {
        Properties config = properties();
        config.put("compression.type", option("codec", "none"));
        config.put("acks", option("acks", "all"));
        config.put("enable.idempotence", options.containsKey("idempotent"));
        if (!options.containsKey("idempotent")) {
            config.put("max.in.flight.requests.per.connection", 1);
        }
        config.put("linger.ms", 5);
        config.put("request.timeout.ms", 5000);
        config.put("delivery.timeout.ms", Math.max(timeout() * 1000, 6000));
        config.put("max.block.ms", timeout() * 1000);
        double rate = Double.parseDouble(option("rate", "0"));
        AtomicInteger acknowledged = new AtomicInteger();
        int sent = 0;
        long start = System.nanoTime();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
                BufferedReader file = Files.newBufferedReader(Path.of(options.get("file")))) {
            for (String text = file.readLine(); text != null; text = file.readLine()) {
                JsonNode line = JSON.readTree(text);
                if (rate > 0) {
                    long wait = start + (long) (sent * 1e9 / rate) - System.nanoTime();
                    TimeUnit.NANOSECONDS.sleep(Math.max(wait, 0));
                }
                ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(words.get(1),
                        line.get("partition").isNull() ? null : line.get("partition").intValue(),
                        line.get("timestamp").isNull() ? null : line.get("timestamp").longValue(),
                        bytes(line.get("key")), bytes(line.get("value")));
                for (JsonNode header : line.get("headers")) {
                    record.headers().add(header.get(0).textValue(), bytes(header.get(1)));
                }
                long i = line.get("i").longValue();
                producer.send(record, (metadata, failure) -> {
                    if (failure != null) {
                        System.err.println("record " + i + ": " + failure);
                        return;
                    }
                    acknowledged.incrementAndGet();
                    print(JSON.createObjectNode().put("i", i).put("partition", metadata.partition()).put("offset", metadata.offset()));
                });
                sent++;
            }
            producer.flush();
        }
        if (acknowledged.get() != sent) {
            throw new IllegalStateException(acknowledged.get() + " of " + sent + " records acknowledged");
        }
    }

    // Consume

    private void consume() throws Exception {
        Properties config = properties();
        config.put("enable.auto.commit", false);
        try (Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (String topic : topics()) {
                consumer.partitionsFor(topic, Duration.ofSeconds(timeout()))
                        .forEach(partition -> partitions.add(new TopicPartition(topic, partition.partition())));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            receive(consumer);
        }
    }

    private void groupConsume() throws Exception {
        Properties config = properties();
        config.put("group.id", options.get("group"));
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        try (Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(topics());
            Map<TopicPartition, OffsetAndMetadata> next = receive(consumer);
            if (options.containsKey("commit")) {
                consumer.commitSync(next, Duration.ofSeconds(timeout()));
            }
        }
    }

    /** Prints --count records; returns the next offset of every partition seen. */
    private Map<TopicPartition, OffsetAndMetadata> receive(Consumer<byte[], byte[]> consumer) throws Exception {
        int count = Integer.parseInt(options.get("count"));
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(timeout());
        Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
        int received = 0;
        while (received < count) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException(received + " of " + count + " records within the timeout");
            }
            ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
            for (ConsumerRecord<byte[], byte[]> record : records) {
                if (received == count) {
                    break;
                }
                print(line(record));
                next.put(new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1));
                received++;
            }
        }
        return next;
    }

    private static ObjectNode line(ConsumerRecord<byte[], byte[]> record) {
        TimestampType type = record.timestampType();
        ObjectNode line = JSON.createObjectNode().put("topic", record.topic()).put("partition", record.partition())
                .put("offset", record.offset()).put("timestamp", record.timestamp())
                .put("timestampType", type == TimestampType.CREATE_TIME ? "create" : type == TimestampType.LOG_APPEND_TIME ? "append" : "none")
                .put("key", base64(record.key())).put("value", base64(record.value()));
        ArrayNode headers = line.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(base64(header.value()));
        }
        return line;
    }

    // Helpers

    Properties properties() {
        Properties config = new Properties();
        config.put("bootstrap.servers", option("bootstrap", "127.0.0.1:9092"));
        config.put("reconnect.backoff.max.ms", 500);
        return config;
    }

    String option(String name, String absent) {
        return options.getOrDefault(name, absent);
    }

    int timeout() {
        return Integer.parseInt(option("timeout", "60"));
    }

    List<String> topics() {
        return Arrays.asList(words.get(1).split(","));
    }

    private static byte[] bytes(JsonNode text) {
        return text.isNull() ? null : Base64.getDecoder().decode(text.textValue());
    }

    private static String base64(byte[] bytes) {
        return bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
    }

    static synchronized void print(ObjectNode line) {
        try {
            OUT.write(JSON.writeValueAsString(line));
            OUT.newLine();
            OUT.flush();
        } catch (IOException gone) {
            System.exit(2);
        }
    }
}
