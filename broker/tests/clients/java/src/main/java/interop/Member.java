// A member of a group that follows commands on its stdin, and a group's offsets told and set.
package interop;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Queue;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

final class Member implements ConsumerRebalanceListener {
    private static final Map<String, String> ASSIGNORS = Map.of("range", "RangeAssignor", "roundrobin", "RoundRobinAssignor",
            "sticky", "StickyAssignor", "cooperative-sticky", "CooperativeStickyAssignor");

    private final Main args;
    private final KafkaConsumer<byte[], byte[]> consumer;
    /** The place behind the last record read. */
    private final Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
    private final Queue<String> commands = new ConcurrentLinkedQueue<>();

    Member(Main args) {
        this.args = args;
        Properties config = args.properties();
        String protocol = args.option("protocol", "classic");
        config.put("group.id", args.options.get("group"));
        config.put("group.protocol", protocol);
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        config.put("fetch.max.wait.ms", 200);
        config.put("default.api.timeout.ms", 30_000);
        if (protocol.equals("classic")) {
            config.put("session.timeout.ms", args.option("session", "6000"));
            config.put("heartbeat.interval.ms", args.option("heartbeat", "500"));
            config.put("partition.assignment.strategy",
                    "org.apache.kafka.clients.consumer." + ASSIGNORS.get(args.option("assignor", "range")));
        } else if (args.options.containsKey("assignor")) {
            config.put("group.remote.assignor", args.options.get("assignor"));
        }
        if (args.options.containsKey("instance")) {
            config.put("group.instance.id", args.options.get("instance"));
        }
        consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    void run() {
        Thread reader = new Thread(this::readCommands);
        reader.setDaemon(true);
        reader.start();
        String pattern = args.options.get("regex");
        if (pattern == null) {
            consumer.subscribe(args.topics(), this);
        } else if (args.option("protocol", "classic").equals("consumer")) {
            consumer.subscribe(new SubscriptionPattern(pattern), this);
        } else {
            consumer.subscribe(Pattern.compile(pattern), this);
        }
        while (true) {
            ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(50));
            for (TopicPartition partition : records.partitions()) {
                ObjectNode line = event("records").put("generation", consumer.groupMetadata().generationId())
                        .put("topic", partition.topic()).put("partition", partition.partition());
                ArrayNode offsets = line.putArray("offsets");
                records.records(partition).forEach(record -> {
                    offsets.add(record.offset());
                    next.put(partition, new OffsetAndMetadata(record.offset() + 1));
                });
                Main.print(line);
            }
            String command = commands.poll();
            if ("commit".equals(command)) {
                commit();
            } else if ("leave".equals(command)) {
                break;
            } else if (command != null) {
                throw new IllegalArgumentException("unknown command " + command);
            }
        }
        consumer.close();
        Main.print(event("left"));
    }

    private void commit() {
        long asked = System.currentTimeMillis();
        ObjectNode line;
        try {
            consumer.commitSync(next);
            line = event("committed").put("asked", asked);
        } catch (KafkaException failure) {
            line = event("commit-failed").put("reason", failure.toString());
        }
        ArrayNode offsets = line.putArray("offsets");
        next.forEach((partition, offset) -> offsets.addArray().add(partition.topic()).add(partition.partition()).add(offset.offset()));
        Main.print(line);
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> gained) {
        // What came back starts where the group committed.
        gained.forEach(next::remove);
        ObjectNode line = event("assigned").put("generation", consumer.groupMetadata().generationId());
        line.set("partitions", places(gained));
        line.set("owned", places(consumer.assignment()));
        Main.print(line);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> gone) {
        gone("revoked", gone);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> gone) {
        gone("lost", gone);
    }

    private void gone(String name, Collection<TopicPartition> gone) {
        ObjectNode line = event(name);
        line.set("partitions", places(gone));
        Main.print(line);
        gone.forEach(next::remove);
    }

    private void readCommands() {
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                commands.add(line);
            }
        } catch (java.io.IOException gone) {
            System.err.println(gone);
        }
        commands.add("leave");
    }

    private static ObjectNode event(String name) {
        return Main.JSON.createObjectNode().put("event", name).put("at", System.currentTimeMillis());
    }

    private static ArrayNode places(Collection<TopicPartition> partitions) {
        ArrayNode places = Main.JSON.createArrayNode();
        TreeSet<TopicPartition> sorted = new TreeSet<>((a, b) ->
                a.topic().equals(b.topic()) ? Integer.compare(a.partition(), b.partition()) : a.topic().compareTo(b.topic()));
        sorted.addAll(partitions);
        sorted.forEach(partition -> places.addArray().add(partition.topic()).add(partition.partition()));
        return places;
    }

    static void groupOffsets(Main args) throws Exception {
        String topic = args.words.get(1);
        try (Admin admin = Admin.create(args.properties())) {
            Map<TopicPartition, ListOffsetsResultInfo> ends = args.offsets(admin, partitions(args, admin, topic), OffsetSpec.latest());
            Map<TopicPartition, OffsetAndMetadata> committed = admin.listConsumerGroupOffsets(args.options.get("group"))
                    .partitionsToOffsetAndMetadata().get(args.timeout(), TimeUnit.SECONDS);
            ends.forEach((partition, end) -> {
                long at = committed.get(partition) == null ? -1 : committed.get(partition).offset();
                Main.print(Main.JSON.createObjectNode().put("topic", topic).put("partition", partition.partition())
                        .put("committed", at).put("end", end.offset()).put("lag", end.offset() - Math.max(at, 0)));
            });
        }
    }

    static void groupReset(Main args) throws Exception {
        OffsetAndMetadata to = new OffsetAndMetadata(Long.parseLong(args.options.get("to")));
        try (Admin admin = Admin.create(args.properties())) {
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            partitions(args, admin, args.words.get(1)).forEach(partition -> offsets.put(partition, to));
            admin.alterConsumerGroupOffsets(args.options.get("group"), offsets).all().get(args.timeout(), TimeUnit.SECONDS);
        }
    }

    private static List<TopicPartition> partitions(Main args, Admin admin, String topic) throws Exception {
        return args.described(admin, topic).partitions().stream().map(each -> new TopicPartition(topic, each.partition())).toList();
    }
}
