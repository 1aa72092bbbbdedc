//! Schema metadata: what the driver knows, tells and describes, against what the server says.

use super::{Needs, Outcome, Stage, subject};
use helenus::topology::{ColumnMetadata, KeyspaceFilter, ObjectChange, SchemaChange};
use helenus::{Consistency, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

subject! { "metadata";
    objects_are_described_as_the_server_describes_them: Needs::PLAIN.since(5, 0),
    a_keyspace_created_again_from_its_description_is_the_same: Needs::PLAIN,
    functions_and_aggregates_are_described_and_created_again: Needs::PLAIN.since(5, 0),
    views_are_known_with_what_they_are_made_from_and_described: Needs::PLAIN.since(5, 0),
    every_table_of_the_server_itself_is_known: Needs::PLAIN,
    virtual_tables_are_described_as_the_server_describes_them: Needs::PLAIN.since(5, 0),
    changes_by_another_session_are_seen_and_told,
    each_kind_of_object_is_read_again_on_demand,
    a_filter_leaves_names_and_replication_of_other_keyspaces,
    replicas_are_those_the_server_names,
    replicas_in_two_datacenters_are_those_the_server_names: Needs::TWO_DATACENTERS,
}

/// Tables with columns, options and indexes of every kind, and the types they use.
const OBJECTS: &[&str] = &[
    "CREATE TYPE z_inner (a int, \"B\" text)",
    "CREATE TYPE outer_t (x frozen<z_inner>, y frozen<list<int>>)",
    "CREATE TABLE t (k int, k2 text, c int, d text, s int static, ls set<int> static, v text, \"V2\" int, l list<int>, \
     fl frozen<list<int>>, m map<text, int>, u outer_t, fu frozen<outer_t>, tu tuple<int, text>, \
     PRIMARY KEY ((k, k2), c, d)) WITH CLUSTERING ORDER BY (c DESC, d ASC) AND comment = 'it''s' \
     AND default_time_to_live = 100 AND compression = {'enabled': false} AND gc_grace_seconds = 5 \
     AND bloom_filter_fp_chance = 0.0001 AND speculative_retry = '50ms' AND caching = {'keys': 'NONE', \
     'rows_per_partition': '10'}",
    "CREATE TABLE counters (k int, c int, n counter, PRIMARY KEY (k, c))",
    "CREATE TABLE \"Upper\" (\"select\" uuid PRIMARY KEY, v varint)",
    "CREATE INDEX m_keys ON t (keys(m))",
    "CREATE INDEX m_entries ON t (entries(m))",
    "CREATE INDEX \"Mixed\" ON t (\"V2\")",
    "CREATE INDEX fl_full ON t (full(fl))",
    "CREATE INDEX ON \"Upper\" (v)",
];

async fn create_objects(session: &Session) -> Result<(), helenus::Error> {
    for statement in OBJECTS {
        session.query(*statement).execute().await?;
    }
    Ok(())
}

/// The statements that the server answers to DESCRIBE, in its order.
async fn server_describes(session: &Session, what: &str) -> Result<Vec<String>, helenus::Error> {
    let rows: Vec<(String, String, String, String)> = session.query(format!("DESCRIBE {what}")).all().await?;
    Ok(rows.into_iter().map(|(_, _, _, statement)| statement).collect())
}

async fn objects_are_described_as_the_server_describes_them(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    create_objects(&session).await?;
    let server = server_describes(&session, &format!("KEYSPACE {}", stage.keyspace())).await?;
    let cluster = session.cluster();
    let described = cluster.keyspace(stage.keyspace()).ok_or("the keyspace is not known")?.statements();
    assert_eq!(described, server);
    Ok(())
}

async fn a_keyspace_created_again_from_its_description_is_the_same(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    create_objects(&session).await?;
    let before = session.cluster();
    let before = before.keyspace(stage.keyspace()).ok_or("the keyspace is not known")?;
    assert!(before.tables.len() == 3 && before.user_types.len() == 2, "the objects are not known");
    session.query(format!("DROP KEYSPACE {}", stage.keyspace())).execute().await?;
    assert!(session.cluster().keyspace(stage.keyspace()).is_none());
    for statement in before.statements() {
        session.query(statement).execute().await?;
    }
    let after = session.cluster();
    let after = after.keyspace(stage.keyspace()).ok_or("the keyspace was not created again")?;
    assert_eq!(after.statements(), before.statements());
    assert_eq!(after.user_types, before.user_types);
    for (name, table) in &before.tables {
        let again = after.tables.get(name).ok_or("a table is missing")?;
        assert_ne!(table.id, again.id, "{name}");
        assert_eq!((&table.columns, &table.indexes), (&again.columns, &again.indexes), "{name}");
    }
    Ok(())
}

/// Functions and aggregates, and the types they use.
const FUNCTIONS: &[&str] = &[
    "CREATE TYPE money (amount int, currency text)",
    "CREATE FUNCTION add_up (state tuple<int, bigint>, v int) CALLED ON NULL INPUT RETURNS tuple<int, bigint> \
     LANGUAGE java AS $$ return state; $$",
    "CREATE FUNCTION mean (state tuple<int, bigint>) RETURNS NULL ON NULL INPUT RETURNS double LANGUAGE java AS \
     'return 0d;'",
    "CREATE FUNCTION mean (a list<int>, \"B\" money) CALLED ON NULL INPUT RETURNS money LANGUAGE java AS 'return null;'",
    "CREATE AGGREGATE average (int) SFUNC add_up STYPE tuple<int, bigint> FINALFUNC mean INITCOND (0, 0)",
    "CREATE AGGREGATE \"Raw\" (int) SFUNC add_up STYPE tuple<int, bigint>",
];

async fn functions_and_aggregates_are_described_and_created_again(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let keyspace = stage.keyspace();
    for statement in FUNCTIONS {
        session.query(*statement).execute().await?;
    }
    let server = server_describes(&session, &format!("KEYSPACE {keyspace}")).await?;
    let before = session.cluster();
    let before = before.keyspace(keyspace).ok_or("the keyspace is not known")?;
    assert_eq!(before.statements(), server);
    assert_eq!((before.functions.len(), before.aggregates.len()), (3, 2));
    session.query(format!("DROP KEYSPACE {keyspace}")).execute().await?;
    for statement in before.statements() {
        session.query(statement).execute().await?;
    }
    let after = session.cluster();
    let after = after.keyspace(keyspace).ok_or("the keyspace was not created again")?;
    assert_eq!((&after.functions, &after.aggregates), (&before.functions, &before.aggregates));

    let qualified = |text: &str| format!("{text} {keyspace}");
    session.query(qualified("DROP AGGREGATE") + ".average").execute().await?;
    session.query(qualified("DROP FUNCTION") + ".mean(tuple<int, bigint>)").execute().await?;
    let cluster = session.cluster();
    let left = cluster.keyspace(keyspace).ok_or("the keyspace is gone")?;
    assert_eq!((left.functions.len(), left.aggregates.len()), (2, 1));
    Ok(())
}

async fn views_are_known_with_what_they_are_made_from_and_described(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let keyspace = stage.keyspace();
    let create_view = "CREATE MATERIALIZED VIEW by_score AS SELECT * FROM games WHERE score IS NOT NULL AND id IS NOT \
                       NULL AND \"Turn\" > 0 PRIMARY KEY (score, id, \"Turn\") WITH CLUSTERING ORDER BY (id DESC, \
                       \"Turn\" ASC) AND comment = 'it''s best'";
    session.query("CREATE TABLE games (id int, \"Turn\" int, score int, PRIMARY KEY (id, \"Turn\"))").execute().await?;
    let created = session.query(create_view).execute().await?;
    assert_eq!(created.warnings().len(), 1, "views are experimental");

    let cluster = session.cluster();
    let known = cluster.keyspace(keyspace).ok_or("the keyspace is not known")?;
    assert!(!known.tables.contains_key("by_score"));
    let view = known.views.get("by_score").ok_or("the view is not known")?;
    assert_eq!((&*view.base_table, view.includes_all_columns), ("games", true));
    assert_eq!(view.where_clause, "score IS NOT NULL AND id IS NOT NULL AND \"Turn\" > 0");
    let names = |columns: Vec<&ColumnMetadata>| -> Vec<(String, bool)> {
        columns.iter().map(|column| (column.name.to_string(), column.is_descending)).collect()
    };
    assert_eq!(names(view.table.partition_key().collect()), [("score".to_owned(), false)]);
    let clustering = names(view.table.clustering_columns().collect());
    assert_eq!(clustering, [("id".to_owned(), true), ("Turn".to_owned(), false)]);
    assert_eq!([view.describe()][..], server_describes(&session, "MATERIALIZED VIEW by_score").await?);
    assert_eq!(known.statements(), server_describes(&session, &format!("KEYSPACE {keyspace}")).await?);

    session.query("ALTER TABLE games ADD player text").execute().await?;
    session.query("ALTER TABLE games RENAME id TO game").execute().await?;
    session.refresh_schema().await?;
    let cluster = session.cluster();
    let view = cluster.keyspace(keyspace).and_then(|known| known.views.get("by_score")).ok_or("the view is gone")?;
    assert!(view.table.column("player").is_some(), "a view of all columns has the new one");
    assert_eq!(view.where_clause, "score IS NOT NULL AND game IS NOT NULL AND \"Turn\" > 0");

    session.query("DROP MATERIALIZED VIEW by_score").execute().await?;
    assert!(session.cluster().keyspace(keyspace).is_some_and(|known| known.views.is_empty()));
    Ok(())
}

async fn every_table_of_the_server_itself_is_known(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let rows: Vec<(String, String)> =
        session.query("SELECT keyspace_name, table_name FROM system_schema.tables").all().await?;
    let virtual_rows: Vec<(String, String)> =
        session.query("SELECT keyspace_name, table_name FROM system_virtual_schema.tables").all().await?;
    let cluster = session.cluster();
    for (is_virtual, (keyspace, table)) in
        rows.iter().map(|row| (false, row)).chain(virtual_rows.iter().map(|row| (true, row)))
    {
        // Other tests come and go with their keyspaces.
        if !keyspace.starts_with("system") {
            continue;
        }
        let known = cluster.schema().table(keyspace, table).ok_or_else(|| format!("{keyspace}.{table} is missing"))?;
        assert_eq!(known.is_virtual, is_virtual, "{keyspace}.{table}");
        assert!(known.partition_key().next().is_some(), "{keyspace}.{table} has no key");
    }
    assert!(virtual_rows.len() > 5);
    Ok(())
}

async fn virtual_tables_are_described_as_the_server_describes_them(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let cluster = session.cluster();
    for name in ["clients", "settings", "internode_inbound"] {
        let server = server_describes(&session, &format!("TABLE system_views.{name}")).await?;
        let table = cluster.schema().table("system_views", name).ok_or("a virtual table is not known")?;
        assert_eq!([table.describe()][..], server);
    }
    Ok(())
}

async fn changes_by_another_session_are_seen_and_told(stage: Stage) -> Outcome {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let (notes, keyspace) = (Arc::clone(&told), stage.keyspace().to_owned());
    let listener = move |change: &SchemaChange| {
        if let Some(note) = note(change, &keyspace) {
            notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
        }
    };
    let at_once = Some(Duration::ZERO);
    let watcher = stage.builder().schema_event_refresh_window(at_once).schema_listener(Arc::new(listener));
    let watcher = stage.connect(watcher).await?;
    let session = stage.session().await?;
    let steps: [(&str, &[&str]); 6] = [
        ("CREATE TYPE address (street text)", &["created type address with 1 fields"]),
        (
            "CREATE TABLE people (id int PRIMARY KEY, home frozen<address>)",
            &["created table people with 2 columns and 0 indexes"],
        ),
        ("ALTER TABLE people ADD age int", &["updated table people with 3 columns and 0 indexes"]),
        ("CREATE INDEX ON people (age)", &["updated table people with 3 columns and 1 indexes"]),
        (
            "ALTER TYPE address ADD zip int",
            &["updated type address with 2 fields", "updated table people with 3 columns and 1 indexes"],
        ),
        ("DROP TABLE people", &["dropped table people with 3 columns and 1 indexes"]),
    ];
    let heard = || told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut expected = vec!["created keyspace".to_owned()];
    for (statement, notes) in steps {
        session.query(statement).execute().await?;
        expected.extend(notes.iter().map(|note| (*note).to_owned()));
        let all = stage.eventually(Duration::from_secs(30), statement, async || heard().len() >= expected.len()).await;
        assert_eq!(heard(), expected, "after {statement}");
        all?;
    }
    assert!(watcher.cluster().schema().table(stage.keyspace(), "people").is_none());
    Ok(())
}

/// A change of the keyspace in words; `None` for other keyspaces.
fn note(change: &SchemaChange, keyspace: &str) -> Option<String> {
    fn verb<T>(change: &ObjectChange<T>) -> (&'static str, &Arc<T>) {
        match change {
            ObjectChange::Created { new } => ("created", new),
            ObjectChange::Updated { new, .. } => ("updated", new),
            ObjectChange::Dropped { old } => ("dropped", old),
        }
    }
    match change {
        SchemaChange::Keyspace(change) => {
            let (verb, object) = verb(change);
            (*object.name == *keyspace).then(|| format!("{verb} keyspace"))
        }
        SchemaChange::UserType(change) => {
            let (verb, object) = verb(change);
            let (name, fields) = (&object.user_type.name, object.user_type.fields.len());
            (*object.user_type.keyspace == *keyspace).then(|| format!("{verb} type {name} with {fields} fields"))
        }
        SchemaChange::Table(change) => {
            let (verb, object) = verb(change);
            let (columns, indexes) = (object.columns.len(), object.indexes.len());
            (*object.keyspace == *keyspace)
                .then(|| format!("{verb} table {} with {columns} columns and {indexes} indexes", object.name))
        }
        // Other tests make views, functions and aggregates at the same time.
        _ => None,
    }
}

async fn each_kind_of_object_is_read_again_on_demand(stage: Stage) -> Outcome {
    let deaf = stage.builder().schema_event_refresh_window(None).metadata_refresh_interval(Duration::from_secs(3600));
    let deaf = stage.connect(deaf).await?;
    let session = stage.session().await?;
    let keyspace = stage.keyspace();
    session.query("CREATE TABLE t (k int PRIMARY KEY)").execute().await?;
    assert!(deaf.cluster().keyspace(keyspace).is_none(), "events are off");

    deaf.refresh_keyspace(keyspace).await?;
    assert!(deaf.cluster().schema().table(keyspace, "t").is_some());

    session.query("CREATE TABLE u (k int PRIMARY KEY)").execute().await?;
    session.query("ALTER TABLE t ADD v int").execute().await?;
    session.query("CREATE INDEX ON t (v)").execute().await?;
    deaf.refresh_table(keyspace, "t").await?;
    let cluster = deaf.cluster();
    let table = cluster.schema().table(keyspace, "t").ok_or("t is gone")?;
    assert_eq!((table.columns.len(), table.indexes.len()), (2, 1));
    assert!(cluster.schema().table(keyspace, "u").is_none(), "only t was asked for");

    session.query("CREATE TYPE ty (a int)").execute().await?;
    deaf.refresh_user_type(keyspace, "ty").await?;
    assert!(deaf.cluster().keyspace(keyspace).is_some_and(|known| known.user_types.contains_key("ty")));

    session.query("CREATE TYPE unheard (a int)").execute().await?;
    session.query("ALTER TABLE u ADD v frozen<unheard>").execute().await?;
    deaf.refresh_table(keyspace, "u").await?;
    let cluster = deaf.cluster();
    let column = cluster.schema().table(keyspace, "u").and_then(|table| table.column("v")).ok_or("u.v is missing")?;
    assert!(
        matches!(column.cql_type, helenus::value::CqlType::UserDefined(_)),
        "a type that the driver had not heard of is read with the table: {:?}",
        column.cql_type
    );

    session.query("DROP TABLE t").execute().await?;
    deaf.refresh_table(keyspace, "t").await?;
    assert!(deaf.cluster().schema().table(keyspace, "t").is_none());

    session
        .query(
            "CREATE KEYSPACE IF NOT EXISTS suite_other WITH replication = {'class': 'SimpleStrategy', \
                   'replication_factor': 1}",
        )
        .execute()
        .await?;
    deaf.refresh_schema().await?;
    assert!(deaf.cluster().keyspace("suite_other").is_some());
    Ok(())
}

async fn a_filter_leaves_names_and_replication_of_other_keyspaces(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (k int PRIMARY KEY)").execute().await?;
    let filters = [
        (KeyspaceFilter::only([stage.keyspace()]), true),
        (KeyspaceFilter::all().except([stage.keyspace()]), false),
        (KeyspaceFilter::none(), false),
    ];
    for (filter, is_admitted) in filters {
        let at_once = Some(Duration::ZERO);
        let builder = stage.builder().keyspace_filter(filter.clone()).schema_event_refresh_window(at_once);
        let filtered = stage.connect(builder).await?;
        let cluster = filtered.cluster();
        let keyspace = cluster.keyspace(stage.keyspace()).ok_or("the keyspace is not known")?;
        assert_eq!((keyspace.is_loaded, keyspace.tables.len()), (is_admitted, usize::from(is_admitted)), "{filter:?}");
        assert!(!cluster.replicas(stage.keyspace(), &[0, 0, 0, 1]).is_empty(), "routing works whatever is left out");
        filtered.refresh_table(stage.keyspace(), "t").await?;
        let cluster = filtered.cluster();
        assert_eq!(cluster.schema().table(stage.keyspace(), "t").is_some(), is_admitted, "{filter:?}");
    }
    Ok(())
}

async fn replicas_are_those_the_server_names(stage: Stage) -> Outcome {
    compare_replicas(&stage).await
}

async fn replicas_in_two_datacenters_are_those_the_server_names(stage: Stage) -> Outcome {
    compare_replicas(&stage).await
}

/// For several replication settings, compares the owners of all ranges with those that DESCRIBE CLUSTER names.
async fn compare_replicas(stage: &Stage) -> Outcome {
    let session = stage.session().await?;
    let settings = (1..=3)
        .map(|factor| stage.replication(factor))
        .chain((1..=3).map(|factor| format!("{{'class': 'SimpleStrategy', 'replication_factor': {factor}}}")));
    for replication in settings {
        let alter = format!("ALTER KEYSPACE {} WITH replication = {replication}", stage.keyspace());
        session.query(alter).consistency(Consistency::One).execute().await?;
        session.refresh_schema().await?;
        let row: (String, String, String, BTreeMap<String, Vec<String>>) =
            session.query("DESCRIBE CLUSTER").one().await?;
        assert!(!row.3.is_empty(), "{replication}");
        let cluster = session.cluster();
        for (token, endpoints) in &row.3 {
            let token = cluster.partitioner().parse_token(token).ok_or("not a token")?;
            let owners: BTreeSet<String> = cluster
                .replicas_of_token(stage.keyspace(), &token)
                .iter()
                .map(|&index| cluster.nodes()[usize::from(index)].announced_address.ip().to_string())
                .collect();
            let named: BTreeSet<String> = endpoints
                .iter()
                .filter_map(|endpoint| Some(endpoint.trim_start_matches('/').rsplit_once(':')?.0.to_owned()))
                .collect();
            assert_eq!(owners, named, "{replication}, token {token}");
        }
    }
    Ok(())
}
