//! Each misuse has an error of its own that says what to do, and sends nothing that could do harm.

use super::{Needs, Outcome, Stage, subject};
use helenus::{
    BatchType, Certainty, Consistency, Error, ErrorKind, PagingState, PrepareOptions, ProtocolVersion, Session,
};
use std::collections::BTreeMap;
use std::time::Duration;

subject! { "misuse";
    values_that_do_not_fit_are_refused_before_anything_is_sent,
    unset_needs_a_protocol_that_knows_it,
    a_keyspace_of_its_own_needs_a_protocol_that_knows_it,
    a_prepared_statement_stays_in_its_keyspace,
    a_batch_with_too_many_statements_is_refused,
    a_counter_in_a_logged_batch_is_refused_in_the_servers_words,
    a_paging_state_of_another_statement_is_refused,
    a_missing_keyspace_is_named,
    a_contact_point_without_a_node_is_named,
    a_malformed_contact_point_is_quoted,
    a_missing_password_is_asked_for: Needs::PASSWORD,
    a_wrong_password_is_told: Needs::PASSWORD,
    a_data_centre_that_does_not_exist_is_told_with_those_that_do,
    a_level_that_the_keyspace_cannot_satisfy_is_unavailable,
    a_closed_session_refuses_every_call,
    a_serial_level_for_a_plain_write_is_refused,
    a_profile_or_node_that_does_not_exist_is_named,
    rows_of_a_statement_without_rows_and_too_many_rows_are_told,
}

/// The error of a call that must not succeed.
fn refused<T>(result: Result<T, Error>) -> Result<Error, String> {
    result.err().ok_or_else(|| "it was accepted".to_owned())
}

async fn with_table(stage: &Stage) -> Result<Session, Box<dyn std::error::Error + Send + Sync>> {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (k int PRIMARY KEY, v text)").execute().await?;
    Ok(session)
}

async fn values_that_do_not_fit_are_refused_before_anything_is_sent(stage: Stage) -> Outcome {
    let session = with_table(&stage).await?;
    let insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)").await?;
    let named = session.prepare("INSERT INTO t (k, v) VALUES (:key, :value)").await?;
    let before = session.metrics().requests;
    let names = BTreeMap::from([("key", 1), ("valeu", 2)]);
    let errors = [
        (refused(session.query(&insert).bind((1,)).execute().await)?, "2"),
        (refused(session.query(&insert).bind((1, "a", "b")).execute().await)?, "2"),
        (refused(session.query(&insert).bind((1, 2)).execute().await)?, "v"),
        (refused(session.query(&named).bind(names).execute().await)?, "valeu"),
    ];
    for (error, names) in errors {
        assert!(matches!(error.kind(), ErrorKind::Bind(_)), "{error}");
        assert_eq!(error.certainty(), Certainty::NotSent);
        assert!(error.to_string().contains(names), "{error}");
    }
    assert_eq!(session.metrics().requests, before);
    Ok(())
}

async fn unset_needs_a_protocol_that_knows_it(stage: Stage) -> Outcome {
    with_table(&stage).await?;
    let session = stage.session_outside(3, |builder| builder.protocol_version(ProtocolVersion::V3)).await?;
    let insert = format!("INSERT INTO {}.t (k, v) VALUES (?, ?)", stage.keyspace());
    let query = session.query(insert).bind((1, helenus::value::Unset));
    let error = refused(query.execute().await)?;
    assert!(matches!(error.kind(), ErrorKind::Bind(_)), "{error}");
    assert!(error.to_string().contains("unset"), "{error}");
    Ok(())
}

async fn a_keyspace_of_its_own_needs_a_protocol_that_knows_it(stage: Stage) -> Outcome {
    with_table(&stage).await?;
    let session = stage.session_outside(3, |builder| builder.protocol_version(ProtocolVersion::V4)).await?;
    let keyspace = stage.keyspace();
    let errors = [
        refused(session.query("SELECT v FROM t").keyspace(keyspace).execute().await)?,
        refused(session.query("SELECT v FROM t WHERE k = ?").bind((1,)).keyspace(keyspace).execute().await)?,
        refused(session.prepare_with("SELECT v FROM t", PrepareOptions::new().keyspace(keyspace)).await)?,
    ];
    for error in errors {
        assert!(matches!(error.kind(), ErrorKind::Encode(message) if message.contains("keyspace")), "{error}");
        assert_eq!(error.certainty(), Certainty::NotSent);
    }
    Ok(())
}

async fn a_prepared_statement_stays_in_its_keyspace(stage: Stage) -> Outcome {
    let session = with_table(&stage).await?;
    let select = session.prepare("SELECT v FROM t").await?;
    session.query(&select).keyspace(stage.keyspace()).execute().await?;
    let error = refused(session.query(&select).keyspace("atlantis").execute().await)?;
    assert!(matches!(error.kind(), ErrorKind::Configuration(message) if message.contains("atlantis")), "{error}");
    assert_eq!(error.certainty(), Certainty::NotSent);
    Ok(())
}

async fn a_batch_with_too_many_statements_is_refused(stage: Stage) -> Outcome {
    let session = with_table(&stage).await?;
    let mut batch = session.batch(BatchType::Unlogged);
    for _ in 0..65_536 {
        batch = batch.push("INSERT INTO t (k) VALUES (1)", ());
    }
    let error = refused(batch.execute().await)?;
    assert!(matches!(error.kind(), ErrorKind::Configuration(message) if message.contains("65535")), "{error}");
    Ok(())
}

async fn a_counter_in_a_logged_batch_is_refused_in_the_servers_words(stage: Stage) -> Outcome {
    let session = with_table(&stage).await?;
    session.query("CREATE TABLE counts (k int PRIMARY KEY, n counter)").execute().await?;
    let batch = session.batch(BatchType::Logged).push("UPDATE counts SET n = n + 1 WHERE k = 1", ());
    let error = refused(batch.execute().await)?;
    assert!(matches!(error.kind(), ErrorKind::Invalid(message) if message.contains("counter")), "{error}");
    assert_eq!(error.certainty(), Certainty::Rejected);
    Ok(())
}

async fn a_paging_state_of_another_statement_is_refused(stage: Stage) -> Outcome {
    let session = with_table(&stage).await?;
    for key in 0..3 {
        session.query("INSERT INTO t (k, v) VALUES (?, 'x')").bind((key,)).execute().await?;
    }
    let page = session.query("SELECT k FROM t").page_size(1).execute().await?;
    let state = page.paging_state().ok_or("there are more pages")?;
    let error = refused(session.query("SELECT v FROM t").paging_state(state.clone()).execute().await)?;
    assert_eq!((error.kind(), error.certainty()), (&ErrorKind::PagingStateForeign, Certainty::NotSent));
    let mut bytes = state.to_bytes();
    bytes.pop();
    assert_eq!(*refused(PagingState::from_bytes(&bytes))?.kind(), ErrorKind::PagingStateMalformed);
    Ok(())
}

async fn a_missing_keyspace_is_named(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let at_start = refused(stage.connect(stage.builder().keyspace("atlantis")).await)?;
    let later = refused(session.use_keyspace("atlantis").await)?;
    for error in [at_start, later] {
        assert_eq!(*error.kind(), ErrorKind::KeyspaceMissing("atlantis".to_owned()));
        assert!(error.to_string().contains("create it"), "{error}");
    }
    session.query("SELECT release_version FROM system.local").execute().await?;
    Ok(())
}

/// A session that knows this contact point only.
fn only(stage: &Stage, contact_point: impl Into<String>) -> helenus::SessionBuilder {
    let environment = stage.cluster().environment("misuse");
    Session::builder().environment(environment).contact_point(contact_point).connect_timeout(Duration::from_secs(2))
}

async fn a_contact_point_without_a_node_is_named(stage: Stage) -> Outcome {
    // A port nobody listens on.
    let nobody = format!("{}:1", stage.address(1).ip());
    let error = refused(stage.connect(only(&stage, &nobody)).await)?;
    assert!(matches!(error.kind(), ErrorKind::NoContactPoint(message) if message.contains(&nobody)), "{error}");
    assert!(error.to_string().contains("check"), "{error}");
    Ok(())
}

async fn a_malformed_contact_point_is_quoted(stage: Stage) -> Outcome {
    let error = refused(stage.connect(only(&stage, "host:port")).await)?;
    assert!(matches!(error.kind(), ErrorKind::Configuration(message) if message.contains("host:port")), "{error}");
    let none = Session::builder().environment(stage.cluster().environment("misuse"));
    let error = refused(stage.connect(none).await)?;
    assert!(matches!(error.kind(), ErrorKind::Configuration(message) if message.contains("contact_points")), "{error}");
    Ok(())
}

async fn a_missing_password_is_asked_for(stage: Stage) -> Outcome {
    let error = refused(stage.connect(only(&stage, stage.address(1).to_string())).await)?;
    assert!(matches!(error.kind(), ErrorKind::Authentication(message) if message.contains("credentials")), "{error}");
    Ok(())
}

async fn a_wrong_password_is_told(stage: Stage) -> Outcome {
    let builder = only(&stage, stage.address(1).to_string()).credentials("cassandra", "wrong");
    let error = refused(stage.connect(builder).await)?;
    assert!(matches!(error.kind(), ErrorKind::Authentication(_)), "{error}");
    assert!(!error.to_string().contains("wrong"), "the password is not repeated: {error}");
    Ok(())
}

async fn a_data_centre_that_does_not_exist_is_told_with_those_that_do(stage: Stage) -> Outcome {
    let error = refused(stage.connect(stage.builder().local_datacenter("atlantis")).await)?;
    let ErrorKind::Configuration(message) = error.kind() else { panic!("{error}") };
    assert!(message.contains("atlantis") && message.contains("datacenter1"), "{message}");
    Ok(())
}

async fn a_level_that_the_keyspace_cannot_satisfy_is_unavailable(stage: Stage) -> Outcome {
    let session = stage.session_with(1, |builder| builder).await?;
    session.query("CREATE TABLE t (k int PRIMARY KEY)").execute().await?;
    let query = session.query("INSERT INTO t (k) VALUES (?)").bind((1,)).consistency(Consistency::Three);
    let error = refused(query.execute().await)?;
    assert_eq!(*error.kind(), ErrorKind::Unavailable { required: 3, alive: 1 });
    assert_eq!((error.certainty(), error.attempts().len()), (Certainty::Rejected, 2));
    Ok(())
}

async fn a_closed_session_refuses_every_call(stage: Stage) -> Outcome {
    let session = with_table(&stage).await?;
    let select = session.prepare("SELECT v FROM t WHERE k = ?").await?;
    let report = session.close(Duration::from_secs(5)).await;
    assert!(report.is_complete, "{report:?}");
    let errors = [
        refused(session.query(&select).bind((1,)).execute().await)?,
        refused(session.query("SELECT v FROM t").execute().await)?,
        refused(session.prepare("SELECT k FROM t").await)?,
        refused(session.prepare("SELECT v FROM t WHERE k = ?").await)?,
        refused(session.batch(BatchType::Logged).push(&select, (1,)).execute().await)?,
        refused(session.use_keyspace(stage.keyspace()).await)?,
        refused(session.refresh_schema().await)?,
        refused(session.wait_for_schema_agreement().await)?,
    ];
    for error in errors {
        assert_eq!((error.kind(), error.certainty()), (&ErrorKind::SessionClosed, Certainty::NotSent));
    }
    Ok(())
}

async fn a_serial_level_for_a_plain_write_is_refused(stage: Stage) -> Outcome {
    let session = with_table(&stage).await?;
    let query = session.query("INSERT INTO t (k) VALUES (1)").consistency(Consistency::Serial);
    let error = refused(query.execute().await)?;
    assert!(matches!(error.kind(), ErrorKind::Invalid(_)), "{error}");
    let read: Option<(i32,)> =
        session.query("SELECT k FROM t WHERE k = 1").consistency(Consistency::Serial).optional().await?;
    assert_eq!(read, None);
    Ok(())
}

async fn a_profile_or_node_that_does_not_exist_is_named(stage: Stage) -> Outcome {
    let session = with_table(&stage).await?;
    let nobody = session.cluster().nodes().iter().fold(0, |sum: u128, node| sum.wrapping_add(node.host_id.as_u128()));
    let host_id = uuid::Uuid::from_u128(nobody);
    let errors = [
        (refused(session.query("SELECT v FROM t").profile("olap").execute().await)?, "olap".to_owned()),
        (refused(session.query("SELECT v FROM t").node(host_id).execute().await)?, host_id.to_string()),
    ];
    for (error, named) in errors {
        assert!(matches!(error.kind(), ErrorKind::Configuration(message) if message.contains(&named)), "{error}");
        assert_eq!(error.certainty(), Certainty::NotSent);
    }
    Ok(())
}

async fn rows_of_a_statement_without_rows_and_too_many_rows_are_told(stage: Stage) -> Outcome {
    let session = with_table(&stage).await?;
    for key in 0..2 {
        session.query("INSERT INTO t (k) VALUES (?)").bind((key,)).execute().await?;
    }
    let none = refused(session.query("INSERT INTO t (k) VALUES (5)").all::<(i32,)>().await)?;
    assert_eq!((none.kind(), none.certainty()), (&ErrorKind::NotRows, Certainty::Applied));
    let many = refused(session.query("SELECT k FROM t").optional::<(i32,)>().await)?;
    assert!(matches!(many.kind(), ErrorKind::RowCount(_)), "{many}");
    let missing = refused(session.query("SELECT k FROM t WHERE k = 9").one::<(i32,)>().await)?;
    assert_eq!(*missing.kind(), ErrorKind::RowCount(0));
    let other = refused(session.query("SELECT k FROM t").all::<(String,)>().await)?;
    assert!(matches!(other.kind(), ErrorKind::Row(_)) && other.to_string().contains('k'), "{other}");
    Ok(())
}
