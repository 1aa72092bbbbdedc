//! Every protocol version with every compression.

use super::{Needs, Outcome, Stage, subject};
use helenus::ProtocolVersion::{self, V3, V4, V5};
use helenus::protocol::compression::Compression::{self, Lz4, Snappy};
use helenus::value::Unset;
use helenus::{BatchType, ErrorKind};

/// One test per version and compression.
macro_rules! combinations {
    (all: { $($name:ident: $version:expr, $compression:expr;)* }
     others: { $($other:ident $(: $needs:expr)?),* $(,)? }) => {
        $(async fn $name(stage: Stage) -> Outcome {
            everything_works(&stage, $version, $compression).await
        })*
        subject! { "protocol"; $($name,)* $($other $(: $needs)?),* }
    };
}

combinations! {
    all: {
    v3_without_compression_carries_everything: V3, None;
    v3_with_lz4_carries_everything: V3, Some(Lz4);
    v3_with_snappy_carries_everything: V3, Some(Snappy);
    v4_without_compression_carries_everything: V4, None;
    v4_with_lz4_carries_everything: V4, Some(Lz4);
    v4_with_snappy_carries_everything: V4, Some(Snappy);
    v5_without_compression_carries_everything: V5, None;
    v5_with_lz4_carries_everything: V5, Some(Lz4);
    }
    others: {
        the_newest_version_is_chosen,
        unset_values_are_refused_in_v3_before_anything_is_sent,
        the_right_password_opens: Needs::PASSWORD,
        a_wrong_password_is_refused: Needs::PASSWORD,
        a_missing_password_is_refused: Needs::PASSWORD,
    }
}

async fn everything_works(stage: &Stage, version: ProtocolVersion, compression: Option<Compression>) -> Outcome {
    let settings = |builder: helenus::SessionBuilder| {
        let builder = builder.protocol_version(version);
        match compression {
            Some(compression) => builder.compression(compression),
            None => builder,
        }
    };
    let session = stage.session_outside(3, settings).await?;
    assert_eq!(session.protocol_version(), version);
    let table = format!("{}.t", stage.keyspace());
    session.query(format!("CREATE TABLE {table} (id int PRIMARY KEY, v text)")).execute().await?;
    let insert = session.prepare(format!("INSERT INTO {table} (id, v) VALUES (?, ?)")).await?;
    // Short ones are not worth compressing, long ones take several segments of v5.
    let texts = [String::new(), "short".to_owned(), "compressible ".repeat(20_000)];
    for (id, text) in (0..).zip(&texts) {
        session.query(&insert).bind((id, text)).execute().await?;
        let select = session.query(format!("SELECT v FROM {table} WHERE id = ?"));
        let (read,): (String,) = select.bind((id,)).one().await?;
        assert!(read == *text, "the text of {} characters comes back", text.len());
    }
    session.batch(BatchType::Logged).push(&insert, (10, "ten")).push(&insert, (11, "eleven")).execute().await?;
    let rows: Vec<(i32,)> = session.query(format!("SELECT id FROM {table}")).page_size(2).all().await?;
    assert_eq!(rows.len(), 5);
    let error = session
        .query(format!("SELECT * FROM {}.absent", stage.keyspace()))
        .execute()
        .await
        .expect_err("there is no such table");
    assert!(matches!(error.kind(), ErrorKind::Invalid(_)), "{error}");
    Ok(())
}

async fn the_newest_version_is_chosen(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    assert_eq!(session.protocol_version(), V5);
    Ok(())
}

async fn unset_values_are_refused_in_v3_before_anything_is_sent(stage: Stage) -> Outcome {
    let session = stage.session_outside(3, |builder| builder.protocol_version(V3)).await?;
    let table = format!("{}.t", stage.keyspace());
    session.query(format!("CREATE TABLE {table} (id int PRIMARY KEY, v text)")).execute().await?;
    let insert = session.query(format!("INSERT INTO {table} (id, v) VALUES (?, ?)")).bind((1, Unset));
    let error = insert.execute().await.expect_err("v3 cannot say it");
    assert!(matches!(error.kind(), ErrorKind::Bind(_)), "{error}");
    assert_eq!(error.certainty(), helenus::Certainty::NotSent);
    Ok(())
}

async fn the_right_password_opens(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let (key,): (String,) = session.query("SELECT key FROM system.local").one().await?;
    assert_eq!(key, "local");
    Ok(())
}

async fn a_wrong_password_is_refused(stage: Stage) -> Outcome {
    let error = stage.builder().credentials("cassandra", "wrong").connect().await.expect_err("it is wrong");
    assert!(matches!(error.kind(), ErrorKind::Authentication(_)), "{error}");
    Ok(())
}

async fn a_missing_password_is_refused(stage: Stage) -> Outcome {
    let builder = helenus::Session::builder()
        .environment(stage.cluster().environment("nobody"))
        .contact_point(stage.address(1).to_string());
    let error = builder.connect().await.expect_err("a password is demanded");
    assert!(matches!(error.kind(), ErrorKind::Authentication(_)), "{error}");
    Ok(())
}
