import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.Stores;

/** The essentials of validation in Kafka Streams: master data as global tables in memory, one thread. */
public final class ValidateStreams {
    private static final int HEAD_BYTES = 5;
    private static final long A_DAY_MICROS = 86_400_000_000L;

    /** A sale with its bytes as they came. */
    private record Sale(byte[] bytes, GenericRecord fields, boolean locationKnown, boolean productKnown) {
        String key(String field) {
            return fields.get("customer_id") + "/" + fields.get(field);
        }

        Sale withLocation(byte[] location) {
            return new Sale(bytes, fields, location != null, productKnown);
        }

        Sale withProduct(byte[] product) {
            return new Sale(bytes, fields, locationKnown, product != null);
        }

        boolean isValid() {
            boolean sold = !(Boolean) fields.get("voided");
            Double quantity = (Double) fields.get("quantity");
            Double price = (Double) fields.get("unit_price");
            Long soldAt = (Long) fields.get("sold_at");
            if (fields.get("defect") != null || (Boolean) fields.get("repeated")) return false;
            if (fields.get("sale_id") == null || fields.get("location_id") == null || !locationKnown) return false;
            if (!sold) return true;
            return fields.get("product_id") != null && productKnown
                && soldAt != null && soldAt <= (Long) fields.get("received_at") + A_DAY_MICROS
                && quantity != null && Double.isFinite(quantity) && quantity >= 0
                && (price == null || (Double.isFinite(price) && price >= 0));
        }
    }

    /** Decodes sales; asks the registry once for each schema. */
    private static final class Decoder {
        private final String registry;
        private final Map<Integer, GenericDatumReader<GenericRecord>> readers = new ConcurrentHashMap<>();

        Decoder(String registry) {
            this.registry = registry;
        }

        Sale decode(byte[] bytes) {
            try {
                var reader = readers.computeIfAbsent(ByteBuffer.wrap(bytes).getInt(1), this::reader);
                var body = DecoderFactory.get().binaryDecoder(bytes, HEAD_BYTES, bytes.length - HEAD_BYTES, null);
                return new Sale(bytes, reader.read(null, body), false, false);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        private GenericDatumReader<GenericRecord> reader(int id) {
            try (var answer = URI.create(registry + "/schemas/ids/" + id).toURL().openStream()) {
                String schema = new ObjectMapper().readTree(answer).get("schema").asText();
                return new GenericDatumReader<>(new Schema.Parser().parse(schema));
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    public static void main(String[] words) throws IOException {
        String broker = words[0], registry = words[1], group = words[2];
        String input = words[3], valid = words[4], refused = words[5], guarantee = words[6];
        var settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, broker);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, group);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, Files.createTempDirectory("kafka-streams-").toString());
        settings.put("auto.offset.reset", "earliest");
        settings.put("producer.compression.type", "lz4");

        var builder = new StreamsBuilder();
        var locations = table(builder, "locations");
        var products = table(builder, "products");
        var bytes = Serdes.ByteArray();
        var decoder = new Decoder(registry);
        var branches = builder.stream(input, Consumed.with(bytes, bytes))
            .mapValues(decoder::decode)
            .leftJoin(locations, (key, sale) -> sale.key("location_id"), Sale::withLocation)
            .leftJoin(products, (key, sale) -> sale.key("product_id"), Sale::withProduct)
            .split();
        branches.branch((key, sale) -> sale.isValid(),
            Branched.withConsumer(sales -> sales.mapValues(Sale::bytes).to(valid, Produced.with(bytes, bytes))));
        branches.defaultBranch(
            Branched.withConsumer(sales -> sales.mapValues(Sale::bytes).to(refused, Produced.with(bytes, bytes))));

        var streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static GlobalKTable<String, byte[]> table(StreamsBuilder builder, String topic) {
        return builder.globalTable(
            topic,
            Consumed.with(Serdes.String(), Serdes.ByteArray()),
            Materialized.<String, byte[]>as(Stores.inMemoryKeyValueStore(topic + "-store"))
                .withKeySerde(Serdes.String()).withValueSerde(Serdes.ByteArray()));
    }
}
