package clients;

import com.datastax.oss.driver.api.core.CqlIdentifier;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.CqlSessionBuilder;
import com.datastax.oss.driver.api.core.DefaultConsistencyLevel;
import com.datastax.oss.driver.api.core.DriverException;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.ColumnDefinition;
import com.datastax.oss.driver.api.core.cql.DefaultBatchType;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.QueryTrace;
import com.datastax.oss.driver.api.core.cql.ResultSet;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.data.CqlDuration;
import com.datastax.oss.driver.api.core.data.CqlVector;
import com.datastax.oss.driver.api.core.data.TupleValue;
import com.datastax.oss.driver.api.core.data.UdtValue;
import com.datastax.oss.driver.api.core.metadata.Metadata;
import com.datastax.oss.driver.api.core.metadata.Node;
import com.datastax.oss.driver.api.core.metadata.schema.KeyspaceMetadata;
import com.datastax.oss.driver.api.core.metadata.schema.SchemaChangeListenerBase;
import com.datastax.oss.driver.api.core.metadata.schema.TableMetadata;
import com.datastax.oss.driver.api.core.type.TupleType;
import com.datastax.oss.driver.api.core.type.UserDefinedType;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * A user's program on the Java driver 4. Prints what it sees, a line per fact, and nothing that differs from run to
 * run, so that the same program's transcripts on two clusters can be compared line by line. Ends with status 1 when a
 * step throws.
 *
 * <p>Arguments: host, port, local data centre, number of nodes.
 */
public final class Tutorial {
  private interface Step {
    void run() throws Exception;
  }

  private static int passed;
  private static int failed;

  private final String host;
  private final int port;
  private final String datacenter;
  private final int nodes;
  private final CqlSession session;

  private Tutorial(String[] arguments) {
    host = arguments[0];
    port = Integer.parseInt(arguments[1]);
    datacenter = arguments[2];
    nodes = Integer.parseInt(arguments[3]);
    session = builder().build();
  }

  public static void main(String[] arguments) {
    try {
      new Tutorial(arguments).all();
    } catch (RuntimeException e) {
      System.out.println("FAIL connect: " + e);
      failed++;
    }
    System.out.println(passed + " passed, " + failed + " failed");
    System.exit(failed == 0 ? 0 : 1);
  }

  private CqlSessionBuilder builder() {
    DriverConfigLoader loader =
        DriverConfigLoader.programmaticBuilder()
            .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(20))
            .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, Duration.ofSeconds(20))
            .withDuration(DefaultDriverOption.METADATA_SCHEMA_WINDOW, Duration.ofMillis(50))
            .build();
    return CqlSession.builder()
        .withConfigLoader(loader)
        .addContactPoint(new InetSocketAddress(host, port))
        .withLocalDatacenter(datacenter);
  }

  private void all() {
    step("nodes", this::nodes);
    step("keyspaces", this::keyspaces);
    step("tables", this::tables);
    step("describe", this::describe);
    step("scalars", this::scalars);
    step("collections", this::collections);
    step("user types and tuples", this::userTypes);
    step("vectors", this::vectors);
    step("null and unset", this::nullAndUnset);
    step("paging", this::paging);
    step("batches", this::batches);
    step("counters", this::counters);
    step("lightweight transactions", this::transactions);
    step("time to live and timestamps", this::timeToLive);
    step("errors", this::errors);
    step("tracing", this::tracing);
    step("warnings", this::warnings);
    step("tokens", this::tokens);
    step("schema events", this::schemaEvents);
    step("clean up", () -> change("DROP KEYSPACE java_client"));
    session.close();
  }

  private static void step(String name, Step step) {
    try {
      System.out.println("# " + name);
      step.run();
      System.out.println("ok " + name);
      passed++;
    } catch (Exception e) {
      System.out.println("FAIL " + name + ": " + e);
      failed++;
    }
  }

  private static void say(Object what) {
    System.out.println("  " + what);
  }

  private void nodes() throws InterruptedException {
    for (int tries = 0; session.getMetadata().getNodes().size() < nodes && tries < 100; tries++) {
      Thread.sleep(50);
    }
    Set<String> seen = new TreeSet<>();
    for (Node node : session.getMetadata().getNodes().values()) {
      seen.add(
          node.getEndPoint() + " " + datacenter.equals(node.getDatacenter()) + " " + (node.getRack() != null) + " "
              + node.getCassandraVersion() + (node.getHostId() == null ? " without host id" : ""));
    }
    seen.forEach(Tutorial::say);
    say("protocol " + session.getContext().getProtocolVersion());
  }

  private void keyspaces() {
    change("DROP KEYSPACE IF EXISTS java_client");
    change("CREATE KEYSPACE java_client WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    session.execute("USE java_client");
    say(session.getKeyspace().map(CqlIdentifier::asInternal).orElse("no keyspace"));
    Set<String> names = new TreeSet<>();
    session.getMetadata().getKeyspaces().keySet().forEach(name -> names.add(name.asInternal()));
    say(names);
    say(new TreeMap<>(keyspace().getReplication()));
  }

  /**
   * Changes the schema on the node that the control connection is on. The driver compares versions as that node sees
   * them: asked of another node, a change may not have reached it yet and all versions look the same, the old one.
   */
  private void change(String query) {
    Node first = null;
    for (Node node : session.getMetadata().getNodes().values()) {
      if (node.getEndPoint().resolve().equals(new InetSocketAddress(host, port))) first = node;
    }
    session.execute(SimpleStatement.newInstance(query).setNode(first));
  }

  private KeyspaceMetadata keyspace() {
    return session.getMetadata().getKeyspace("java_client").orElseThrow();
  }

  private void tables() {
    change("CREATE TYPE address (street text, number int)");
    change("CREATE TABLE songs (artist text, year int, id uuid, title text, tags set<text>, label text static, "
            + "home frozen<address>, PRIMARY KEY ((artist, year), id)) WITH CLUSTERING ORDER BY (id DESC) "
            + "AND comment = 'what we sing' AND default_time_to_live = 86400");
    change("CREATE INDEX by_title ON songs (title)");
    TableMetadata table = keyspace().getTable("songs").orElseThrow();
    table.getColumns().values().forEach(c -> say(c.getName() + " " + c.getType().asCql(true, true) + " " + c.isStatic()));
    say(table.getPartitionKey().size() + " " + table.getClusteringColumns().values());
    table.getIndexes().values().forEach(i -> say(i.describe(false)));
    say(table.getOptions().get(CqlIdentifier.fromInternal("default_time_to_live")));
  }

  private void describe() {
    keyspace().describeWithChildren(true).lines().forEach(Tutorial::say);
  }

  private void scalars() throws Exception {
    change("CREATE TABLE scalars (k int PRIMARY KEY, a ascii, b bigint, c blob, d boolean, e date, f decimal, g double, "
            + "h duration, i float, j inet, l smallint, m text, n time, o timestamp, p timeuuid, q tinyint, r uuid, "
            + "s varint)");
    PreparedStatement insert =
        session.prepare(
            "INSERT INTO scalars (k, a, b, c, d, e, f, g, h, i, j, l, m, n, o, p, q, r, s) "
                + "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    session.execute(
        insert.bind(
            1, "ascii", Long.MIN_VALUE, ByteBuffer.wrap(new byte[] {0, 1, -1}), true, LocalDate.of(-44, 3, 15),
            new BigDecimal("-12345678901234567890.123456789"), Double.MIN_VALUE, CqlDuration.from("1mo2d3h4ns"),
            Float.NaN, InetAddress.getByName("2001:db8::1"), (short) -32768, "Ähre \uD83C\uDF3E",
            LocalTime.of(23, 59, 59, 999_999_999), Instant.ofEpochMilli(-1),
            UUID.fromString("d2177dd0-eaa2-11de-a572-001b779c76e3"), (byte) -128,
            UUID.fromString("756716f7-2e54-4715-9f00-91dcbea6cf50"), new BigInteger("-170141183460469231731687303715884105729")));
    show(session.execute("SELECT * FROM scalars WHERE k = 1"));
  }

  private void show(ResultSet result) {
    List<String> names = new ArrayList<>();
    for (ColumnDefinition column : result.getColumnDefinitions()) {
      names.add(column.getName() + " " + column.getType().asCql(false, false));
    }
    say(names);
    for (Row row : result) {
      say(row.getFormattedContents());
    }
  }

  private void collections() {
    change("CREATE TABLE collections (k int PRIMARY KEY, l list<int>, s set<text>, m map<text, frozen<list<int>>>, "
            + "f frozen<map<int, frozen<set<int>>>>)");
    PreparedStatement insert = session.prepare("INSERT INTO collections (k, l, s, m, f) VALUES (?, ?, ?, ?, ?)");
    // Within a frozen value elements stay as they are sent, and `Set.of` has another order in every process.
    Map<Integer, Set<Integer>> frozen = Map.of(7, new TreeSet<>(Set.of(9, 8)));
    session.execute(
        insert.bind(1, List.of(3, 1, 3), Set.of("b", "a"), Map.of("x", List.of(1, 2), "", List.of()), frozen));
    session.execute("UPDATE collections SET l = l + [4], s = s - {'a'}, m['y'] = [5] WHERE k = 1");
    session.execute("UPDATE collections SET l[0] = 30 WHERE k = 1");
    show(session.execute("SELECT * FROM collections WHERE k = 1"));
  }

  private void userTypes() {
    change("CREATE TABLE homes (k int PRIMARY KEY, a address, t tuple<int, text, frozen<address>>)");
    UserDefinedType type = keyspace().getUserDefinedType("address").orElseThrow();
    UdtValue value = type.newValue("Elm", 7);
    PreparedStatement insert = session.prepare("INSERT INTO homes (k, a, t) VALUES (?, ?, ?)");
    TupleType tupleType = (TupleType) insert.getVariableDefinitions().get("t").getType();
    TupleValue tuple = tupleType.newValue(1, null, type.newValue("Oak", null));
    session.execute(insert.bind(1, value, tuple));
    change("ALTER TYPE address ADD city text");
    session.execute("UPDATE homes SET a.city = 'Troy' WHERE k = 1");
    show(session.execute("SELECT a, t, a.street FROM homes WHERE k = 1"));
    say(keyspace().getUserDefinedType("address").orElseThrow().describe(false));
  }

  private void vectors() {
    change("CREATE TABLE vectors (k int PRIMARY KEY, v vector<float, 3>)");
    PreparedStatement insert = session.prepare("INSERT INTO vectors (k, v) VALUES (?, ?)");
    session.execute(insert.bind(1, CqlVector.newInstance(1.5f, -2f, 0f)));
    show(session.execute("SELECT v, similarity_cosine(v, [1.5, -2, 0]) AS same FROM vectors WHERE k = 1"));
  }

  private void nullAndUnset() {
    change("CREATE TABLE sparse (k int PRIMARY KEY, a text, b text)");
    PreparedStatement insert = session.prepare("INSERT INTO sparse (k, a, b) VALUES (:k, :a, :b)");
    session.execute(insert.bind(1, "a", "b"));
    session.execute(insert.boundStatementBuilder().setInt("k", 1).setToNull("a").build());
    show(session.execute("SELECT * FROM sparse"));
  }

  private void paging() {
    change("CREATE TABLE numbers (k int, n int, PRIMARY KEY (k, n))");
    PreparedStatement insert = session.prepare("INSERT INTO numbers (k, n) VALUES (0, ?)");
    for (int n = 0; n < 100; n++) {
      session.execute(insert.bind(n));
    }
    SimpleStatement select = SimpleStatement.newInstance("SELECT n FROM numbers WHERE k = 0").setPageSize(7);
    int expected = 0;
    for (Row row : session.execute(select)) {
      if (row.getInt(0) != expected++) {
        throw new IllegalStateException("row " + row.getInt(0) + " out of order");
      }
    }
    say(expected + " rows");
    ResultSet first = session.execute(select);
    say(first.getAvailableWithoutFetching() + " in the first page");
    ResultSet second = session.execute(select.setPagingState(first.getExecutionInfo().getPagingState()));
    say("the second page begins with " + second.one().getInt(0));
    say(session.execute("SELECT count(*) FROM numbers WHERE k = 0").one().getLong(0));
  }

  private void batches() {
    change("CREATE TABLE batched (k int PRIMARY KEY, v text)");
    PreparedStatement insert = session.prepare("INSERT INTO batched (k, v) VALUES (?, ?)");
    session.execute(
        BatchStatement.builder(DefaultBatchType.LOGGED)
            .addStatement(insert.bind(1, "one"))
            .addStatement(insert.bind(2, "two"))
            .addStatement(SimpleStatement.newInstance("DELETE FROM batched WHERE k = 1"))
            .build()
            .setQueryTimestamp(1000));
    show(session.execute("SELECT k, v, writetime(v) FROM batched"));
  }

  private void counters() {
    change("CREATE TABLE votes (k text PRIMARY KEY, up counter, down counter)");
    for (int i = 0; i < 5; i++) {
      session.execute("UPDATE votes SET up = up + 2, down = down - 1 WHERE k = 'x'");
    }
    show(session.execute("SELECT * FROM votes"));
  }

  private void transactions() {
    change("CREATE TABLE accounts (k text PRIMARY KEY, v int)");
    ResultSet created = session.execute("INSERT INTO accounts (k, v) VALUES ('a', 1) IF NOT EXISTS");
    say(created.wasApplied());
    show(session.execute("INSERT INTO accounts (k, v) VALUES ('a', 2) IF NOT EXISTS"));
    show(session.execute("UPDATE accounts SET v = 5 WHERE k = 'a' IF v = 9"));
    say(session.execute("UPDATE accounts SET v = 5 WHERE k = 'a' IF v IN (1, 2)").wasApplied());
    say(session.execute("DELETE FROM accounts WHERE k = 'b' IF EXISTS").wasApplied());
    show(
        session.execute(
            SimpleStatement.newInstance("SELECT * FROM accounts")
                .setConsistencyLevel(DefaultConsistencyLevel.QUORUM)));
  }

  private void timeToLive() {
    change("CREATE TABLE timed (k int PRIMARY KEY, v text)");
    session.execute("INSERT INTO timed (k, v) VALUES (1, 'a') USING TTL 1000 AND TIMESTAMP 42");
    Row row = session.execute("SELECT ttl(v), writetime(v) FROM timed WHERE k = 1").one();
    say((row.getInt(0) > 900 && row.getInt(0) <= 1000) + " " + row.getLong(1));
    session.execute("UPDATE timed USING TIMESTAMP 41 SET v = 'older' WHERE k = 1");
    show(session.execute("SELECT v FROM timed WHERE k = 1"));
  }

  private void errors() {
    refused("SELECT * FROM nowhere");
    refused("SELEKT 1");
    refused("INSERT INTO timed (k, w) VALUES (1, 'a')");
    refused("CREATE TABLE timed (k int PRIMARY KEY)");
    refused("CREATE KEYSPACE java_client WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    refused("SELECT * FROM timed WHERE v = 'a'");
    refused("INSERT INTO timed (k, v) VALUES ('text', 'a')");
    refused("CREATE KEYSPACE bad WITH replication = {'class': 'Unheard'}");
  }

  private void refused(String query) {
    try {
      session.execute(query);
      throw new IllegalStateException("not refused: " + query);
    } catch (DriverException e) {
      say(e.getClass().getSimpleName() + ": " + e.getMessage());
    }
  }

  private void tracing() {
    ResultSet result = session.execute(SimpleStatement.newInstance("SELECT * FROM timed WHERE k = 1").setTracing(true));
    QueryTrace trace = result.getExecutionInfo().getQueryTrace();
    say(trace.getRequestType() + " " + trace.getParameters().get("query") + " " + trace.getEvents().isEmpty());
  }

  private void warnings() {
    StringBuilder batch = new StringBuilder("BEGIN UNLOGGED BATCH ");
    for (int k = 0; k < 12; k++) {
      batch.append("INSERT INTO timed (k, v) VALUES (").append(k).append(", 'a'); ");
    }
    session.execute(batch + "APPLY BATCH").getExecutionInfo().getWarnings().forEach(Tutorial::say);
  }

  private void tokens() {
    Metadata metadata = session.getMetadata();
    ByteBuffer key = ByteBuffer.wrap(new byte[] {0, 0, 0, 42});
    say(metadata.getTokenMap().orElseThrow().newToken(key));
    say(metadata.getTokenMap().orElseThrow().getReplicas("java_client", key).size());
    say(session.execute("SELECT token(k) FROM timed WHERE k = 42").getColumnDefinitions().get(0).getType());
  }

  private void schemaEvents() throws Exception {
    CountDownLatch created = new CountDownLatch(1);
    CountDownLatch updated = new CountDownLatch(1);
    CountDownLatch dropped = new CountDownLatch(1);
    SchemaChangeListenerBase listener =
        new SchemaChangeListenerBase() {
          @Override
          public void onTableCreated(TableMetadata table) {
            if (table.getName().asInternal().equals("watched")) created.countDown();
          }

          @Override
          public void onTableUpdated(TableMetadata current, TableMetadata previous) {
            if (current.getName().asInternal().equals("watched")) updated.countDown();
          }

          @Override
          public void onTableDropped(TableMetadata table) {
            if (table.getName().asInternal().equals("watched")) dropped.countDown();
          }
        };
    try (CqlSession watcher = builder().withSchemaChangeListener(listener).build()) {
      change("CREATE TABLE watched (k int PRIMARY KEY)");
      say("created seen: " + created.await(20, TimeUnit.SECONDS));
      change("ALTER TABLE watched ADD v text");
      say("updated seen: " + updated.await(20, TimeUnit.SECONDS));
      change("DROP TABLE watched");
      say("dropped seen: " + dropped.await(20, TimeUnit.SECONDS));
      say(watcher.getMetadata().getKeyspace("java_client").orElseThrow().getTable("watched").isPresent());
    }
  }
}
