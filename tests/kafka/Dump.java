// Reads a topic from its start to its end with Kafka's own client, and prints a line of JSON for each message.
//
//   java -cp LIBS/* Dump.java BROKERS TOPIC

import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class Dump {
    public static void main(String[] arguments) {
        Map<String, Object> settings = Map.of("bootstrap.servers", arguments[0], "max.poll.records", 5000);
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(arguments[1]).stream()
                    .map(found -> new TopicPartition(found.topic(), found.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            var lines = new StringBuilder();
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                for (ConsumerRecord<byte[], byte[]> message : consumer.poll(Duration.ofSeconds(1))) {
                    lines.append(line(message)).append('\n');
                }
            }
            System.out.print(lines);
        }
    }

    private static String line(ConsumerRecord<byte[], byte[]> message) {
        String headers = java.util.Arrays.stream(message.headers().toArray()).map(Dump::header)
                .collect(Collectors.joining(","));
        return "{\"partition\":" + message.partition() + ",\"offset\":" + message.offset() + ",\"timestamp\":"
                + message.timestamp() + ",\"key\":" + text(message.key()) + ",\"value\":" + text(message.value())
                + ",\"headers\":{" + headers + "}}";
    }

    private static String header(Header header) {
        return "\"" + header.key() + "\":" + text(header.value());
    }

    /** Octets in base64. */
    private static String text(byte[] octets) {
        return octets == null ? "null" : "\"" + Base64.getEncoder().encodeToString(octets) + "\"";
    }
}
