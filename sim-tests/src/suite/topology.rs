//! What a session knows of nodes, ring and schema, against what the server's own tables say.

use super::{Needs, Outcome, Stage, subject};
use helenus::topology::{ColumnKind, Token};
use helenus::value::CqlValue;
use helenus::{Consistency, Session};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use uuid::Uuid;

subject! { "topology";
    every_node_is_known_with_its_address_and_place,
    nodes_of_two_data_centres_are_told_apart: Needs::TWO_DATACENTERS,
    sessions_prefer_the_data_centre_of_their_contact_point: Needs::TWO_DATACENTERS,
    each_quorum_and_local_quorum_work_across_data_centres: Needs::TWO_DATACENTERS,
    tokens_of_a_thousand_keys_are_the_servers,
    tokens_of_compound_keys_are_the_servers,
    replicas_follow_the_ring_for_every_replication_factor,
    replicas_are_chosen_per_data_centre: Needs::TWO_DATACENTERS,
    the_first_attempt_goes_to_a_replica,
    a_table_is_described_column_by_column,
    a_user_type_is_described_field_by_field,
    a_keyspace_is_described_with_its_replication,
    a_table_created_by_another_session_is_seen,
    an_altered_table_is_seen_by_another_session,
    a_dropped_keyspace_is_seen_by_another_session,
    nodes_agree_on_the_schema_after_a_change,
    a_closed_session_refuses_requests,
}

/// How long sessions may take to hear of a change that others made.
const NEWS: Duration = Duration::from_secs(60);

async fn every_node_is_known_with_its_address_and_place(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let snapshot = session.cluster();
    let known: BTreeSet<(SocketAddr, &str)> =
        snapshot.nodes().iter().map(|node| (node.address, &*node.datacenter)).collect();
    let members = stage.cluster().members();
    let expected: BTreeSet<(SocketAddr, &str)> =
        members.iter().map(|member| (member.address, &*member.datacenter)).collect();
    assert_eq!(known, expected);
    assert!(snapshot.nodes().iter().all(|node| !node.tokens.is_empty()));
    Ok(())
}

async fn nodes_of_two_data_centres_are_told_apart(stage: Stage) -> Outcome {
    every_node_is_known_with_its_address_and_place(stage).await
}

async fn sessions_prefer_the_data_centre_of_their_contact_point(stage: Stage) -> Outcome {
    stage.session().await?.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    for member in stage.cluster().members() {
        let builder = stage.builder_at(&[member.address]).keyspace(stage.keyspace());
        let session = stage.connect(builder).await?;
        for id in 0..20 {
            let query = session.query("INSERT INTO t (id) VALUES (?)").bind((id,));
            let coordinator = query.execute().await?.coordinator();
            let snapshot = session.cluster();
            let node = snapshot.node(coordinator).ok_or("the coordinator is a known node")?;
            assert_eq!(*node.datacenter, *member.datacenter);
        }
    }
    Ok(())
}

async fn each_quorum_and_local_quorum_work_across_data_centres(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    for (id, level) in (0..).zip([Consistency::EachQuorum, Consistency::LocalQuorum, Consistency::All]) {
        session.query("INSERT INTO t (id) VALUES (?)").bind((id,)).consistency(level).execute().await?;
    }
    let rows: Vec<(i32,)> = session.query("SELECT id FROM t").consistency(Consistency::All).all().await?;
    assert_eq!(rows.len(), 3);
    Ok(())
}

async fn tokens_of_a_thousand_keys_are_the_servers(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (id blob PRIMARY KEY)").execute().await?;
    let insert = session.prepare("INSERT INTO t (id) VALUES (?)").await?;
    let mut state = stage.seed();
    for length in 0..1_000_usize {
        let key: Vec<u8> = (0..=length % 70).map(|_| next(&mut state)).collect();
        session.query(&insert).bind((&key[..],)).execute().await?;
    }
    let rows: Vec<(Vec<u8>, CqlValue)> = session.query("SELECT id, token(id) FROM t").page_size(300).all().await?;
    assert!(rows.len() > 900, "{} different keys", rows.len());
    for (key, token) in rows {
        assert_eq!(session.cluster().partitioner().token_of(&key), as_token(token), "the key {key:02x?}");
    }
    Ok(())
}

/// What `token()` answers, by the type that the partitioner gives it.
fn as_token(value: CqlValue) -> Option<Token> {
    match value {
        CqlValue::Bigint(token) => Some(Token::Murmur3(token)),
        CqlValue::Varint(token) => u128::try_from(token).ok().map(Token::Random),
        CqlValue::Blob(key) => Some(Token::ByteOrdered(key.into())),
        _ => None,
    }
}

/// A byte of a small generator, good enough to vary keys.
fn next(state: &mut u64) -> u8 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    state.to_be_bytes()[0]
}

async fn tokens_of_compound_keys_are_the_servers(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (a text, b int, c text, PRIMARY KEY ((a, b, c)))").execute().await?;
    for b in 0..50 {
        let (a, c) = ("x".repeat(b % 7), "y".repeat(b % 5 + 1));
        let b = i32::try_from(b).unwrap_or(0);
        let insert = session.query("INSERT INTO t (a, b, c) VALUES (?, ?, ?)");
        insert.bind((&a, b, &c)).execute().await?;
        let select = session.query("SELECT token(a, b, c) FROM t WHERE a = ? AND b = ? AND c = ?");
        let (token,): (CqlValue,) = select.bind((&a, b, &c)).one().await?;
        let mut key = Vec::new();
        helenus::topology::compose_routing_key(&[a.as_bytes(), &b.to_be_bytes(), c.as_bytes()], &mut key)?;
        assert_eq!(session.cluster().partitioner().token_of(&key), as_token(token), "the key {key:02x?}");
    }
    Ok(())
}

/// The ring by the system tables of one node: tokens in order with the node and data centre of each.
async fn ring(session: &Session) -> Result<Vec<(Token, Uuid, String)>, Box<dyn std::error::Error + Send + Sync>> {
    let partitioner = session.cluster().partitioner();
    let columns = "host_id, data_center, tokens";
    let mut nodes: Vec<(Uuid, String, BTreeSet<String>)> =
        session.query(format!("SELECT {columns} FROM system.local")).all().await?;
    nodes.extend(session.query(format!("SELECT {columns} FROM system.peers_v2")).all().await?);
    let mut ring = Vec::new();
    for (host, datacenter, tokens) in nodes {
        for token in tokens {
            ring.push((partitioner.parse_token(&token).ok_or("not a token")?, host, datacenter.clone()));
        }
    }
    ring.sort_unstable();
    Ok(ring)
}

/// The first `factor` different nodes of a data centre, clockwise from a token: what Cassandra does in one rack.
fn clockwise(ring: &[(Token, Uuid, String)], token: &Token, datacenter: &str, factor: usize) -> BTreeSet<Uuid> {
    let start = ring.partition_point(|(other, _, _)| other < token);
    let mut replicas = Vec::new();
    for (_, host, place) in ring.iter().cycle().skip(start).take(ring.len()) {
        if place == datacenter && !replicas.contains(host) && replicas.len() < factor {
            replicas.push(*host);
        }
    }
    replicas.into_iter().collect()
}

async fn replicas_follow_the_ring_for_every_replication_factor(stage: Stage) -> Outcome {
    for factor in 1..=3_u8 {
        let session = stage.session_with(factor, |builder| builder).await?;
        let alter = format!("ALTER KEYSPACE {} WITH replication = {}", stage.keyspace(), stage.replication(factor));
        session.query(alter).execute().await?;
        session.refresh_schema().await?;
        let pinned = stage.pinned(1).await?;
        let ring = ring(&pinned).await?;
        let snapshot = session.cluster();
        for n in 0..1_000_u32 {
            let key = n.to_be_bytes();
            let token = snapshot.partitioner().token_of(&key).ok_or("a partitioner that is known")?;
            let expected = clockwise(&ring, &token, "datacenter1", factor.into());
            let known: BTreeSet<Uuid> = snapshot.replicas(stage.keyspace(), &key).into_iter().collect();
            assert_eq!(known, expected, "{factor} replicas of the key {n}");
        }
    }
    Ok(())
}

async fn replicas_are_chosen_per_data_centre(stage: Stage) -> Outcome {
    let session = stage.session_with(1, |builder| builder).await?;
    session.refresh_schema().await?;
    let pinned = stage.pinned(1).await?;
    let ring = ring(&pinned).await?;
    let snapshot = session.cluster();
    for n in 0..1_000_u32 {
        let key = n.to_be_bytes();
        let token = snapshot.partitioner().token_of(&key).ok_or("a partitioner that is known")?;
        let mut expected = clockwise(&ring, &token, "datacenter1", 1);
        expected.extend(clockwise(&ring, &token, "datacenter2", 1));
        let known: BTreeSet<Uuid> = snapshot.replicas(stage.keyspace(), &key).into_iter().collect();
        assert_eq!(known, expected, "replicas of the key {n}");
    }
    Ok(())
}

async fn the_first_attempt_goes_to_a_replica(stage: Stage) -> Outcome {
    let session = stage.session_with(1, |builder| builder).await?;
    session.query("CREATE TABLE t (id int PRIMARY KEY, v int)").execute().await?;
    session.refresh_schema().await?;
    let insert = session.prepare("INSERT INTO t (id, v) VALUES (?, 0)").await?;
    for id in 0..50_i32 {
        let coordinator = session.query(&insert).bind((id,)).execute().await?.coordinator();
        let replicas = session.cluster().replicas(stage.keyspace(), &id.to_be_bytes());
        assert_eq!(replicas, [coordinator], "the only replica of {id} coordinates");
    }
    Ok(())
}

async fn a_table_is_described_column_by_column(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session
        .query(
            "CREATE TABLE t (a int, b text, c timeuuid, d int, s text static, v map<text, frozen<list<int>>>, \
             PRIMARY KEY ((a, b), c, d)) WITH CLUSTERING ORDER BY (c DESC, d ASC) AND comment = 'a table' \
             AND default_time_to_live = 100",
        )
        .execute()
        .await?;
    session.refresh_schema().await?;
    let snapshot = session.cluster();
    let table = snapshot.schema().table(stage.keyspace(), "t").ok_or("the table is known")?;
    let columns: Vec<(&str, ColumnKind, bool, String)> = table
        .columns
        .iter()
        .map(|column| (&*column.name, column.kind, column.is_descending, column.cql_type.to_string()))
        .collect();
    let text = |text: &str| text.to_owned();
    assert_eq!(
        columns,
        [
            ("a", ColumnKind::PartitionKey, false, text("int")),
            ("b", ColumnKind::PartitionKey, false, text("text")),
            ("c", ColumnKind::Clustering, true, text("timeuuid")),
            ("d", ColumnKind::Clustering, false, text("int")),
            ("s", ColumnKind::Static, false, text("text")),
            ("v", ColumnKind::Regular, false, text("map<text, list<int>>")),
        ]
    );
    assert_eq!((&*table.options.comment, table.options.default_time_to_live), ("a table", 100));
    Ok(())
}

async fn a_user_type_is_described_field_by_field(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TYPE inner_type (x int)").execute().await?;
    session.query("CREATE TYPE outer_type (name text, parts list<frozen<inner_type>>)").execute().await?;
    session.refresh_schema().await?;
    let snapshot = session.cluster();
    let keyspace = snapshot.keyspace(stage.keyspace()).ok_or("the keyspace is known")?;
    let outer = keyspace.user_types.get("outer_type").ok_or("the type is known")?;
    let names: Vec<&str> = outer.user_type.fields.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["name", "parts"]);
    assert_eq!(&*outer.fields[0].1, "text");
    Ok(())
}

async fn a_keyspace_is_described_with_its_replication(stage: Stage) -> Outcome {
    let session = stage.session_with(2, |builder| builder).await?;
    session.refresh_schema().await?;
    let snapshot = session.cluster();
    let keyspace = snapshot.keyspace(stage.keyspace()).ok_or("the keyspace is known")?;
    let text = keyspace.describe();
    assert!(text.contains("NetworkTopologyStrategy") && text.contains("'datacenter1': '2'"), "{text}");
    assert!(keyspace.durable_writes);
    Ok(())
}

async fn a_table_created_by_another_session_is_seen(stage: Stage) -> Outcome {
    let (author, reader) = (stage.session().await?, stage.session().await?);
    author.query("CREATE TABLE news (id int PRIMARY KEY)").execute().await?;
    stage
        .eventually(NEWS, "the reader knows the table", async || {
            reader.cluster().schema().table(stage.keyspace(), "news").is_some()
        })
        .await?;
    author.query("DROP TABLE news").execute().await?;
    stage
        .eventually(NEWS, "the reader knows that it is gone", async || {
            reader.cluster().schema().table(stage.keyspace(), "news").is_none()
        })
        .await?;
    Ok(())
}

async fn an_altered_table_is_seen_by_another_session(stage: Stage) -> Outcome {
    let (author, reader) = (stage.session().await?, stage.session().await?);
    author.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    author.query("CREATE TYPE kind (x int)").execute().await?;
    author.query("ALTER TABLE t ADD k frozen<kind>").execute().await?;
    stage
        .eventually(NEWS, "the reader knows the new column", async || {
            let snapshot = reader.cluster();
            snapshot.schema().table(stage.keyspace(), "t").is_some_and(|table| table.column("k").is_some())
        })
        .await?;
    Ok(())
}

async fn a_dropped_keyspace_is_seen_by_another_session(stage: Stage) -> Outcome {
    let author = stage.session().await?;
    let reader = stage.connect(stage.builder()).await?;
    stage
        .eventually(NEWS, "the reader knows the keyspace", async || {
            reader.cluster().keyspace(stage.keyspace()).is_some()
        })
        .await?;
    author.query(format!("DROP KEYSPACE {}", stage.keyspace())).execute().await?;
    stage
        .eventually(NEWS, "the reader knows that it is gone", async || {
            reader.cluster().keyspace(stage.keyspace()).is_none()
        })
        .await?;
    Ok(())
}

async fn nodes_agree_on_the_schema_after_a_change(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let result = session.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    assert!(result.is_schema_agreed());
    for node in 1..=3 {
        let pinned = stage.pinned(node).await?;
        pinned.query("SELECT id FROM t").execute().await?;
    }
    session.wait_for_schema_agreement().await?;
    Ok(())
}

async fn a_closed_session_refuses_requests(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let report = session.close(Duration::from_secs(5)).await;
    assert!(report.is_complete);
    let error = session.query("SELECT key FROM system.local").execute().await.expect_err("it is closed");
    assert!(matches!(error.kind(), helenus::ErrorKind::SessionClosed), "{error}");
    Ok(())
}
