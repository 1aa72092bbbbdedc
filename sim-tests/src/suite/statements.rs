//! Statements of every kind, and what they answer.

use super::{Outcome, Stage, subject};
use helenus::{Applied, BatchType, ErrorKind, PrepareOptions};

subject! { "statements";
    a_text_with_values_is_prepared_and_executed,
    named_markers_take_values_by_name,
    an_insert_if_not_exists_tells_the_existing_row,
    a_counter_adds_up,
    a_logged_batch_writes_all_its_rows,
    pages_cover_every_row_once,
    a_statement_that_is_not_cql_is_a_syntax_error,
    an_unknown_table_is_invalid,
    creating_a_table_twice_says_which_exists,
    text_batches_and_prepared_statements_may_name_their_keyspace,
}

async fn a_text_with_values_is_prepared_and_executed(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE people (id int PRIMARY KEY, name text)").execute().await?;
    session.query("INSERT INTO people (id, name) VALUES (?, ?)").bind((1, "Ada")).execute().await?;
    let (name,): (String,) = session.query("SELECT name FROM people WHERE id = ?").bind((1,)).one().await?;
    assert_eq!(name, "Ada");
    let none: Option<(String,)> = session.query("SELECT name FROM people WHERE id = 2").optional().await?;
    assert_eq!(none, None);
    Ok(())
}

async fn named_markers_take_values_by_name(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE pairs (a int PRIMARY KEY, b int)").execute().await?;
    let values = std::collections::BTreeMap::from([("right", 2), ("left", 1)]);
    session.query("INSERT INTO pairs (a, b) VALUES (:left, :right)").bind(values).execute().await?;
    let rows: Vec<(i32, i32)> = session.query("SELECT a, b FROM pairs").all().await?;
    assert_eq!(rows, [(1, 2)]);
    Ok(())
}

async fn an_insert_if_not_exists_tells_the_existing_row(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE names (name text PRIMARY KEY, owner int)").execute().await?;
    let claim = session.prepare("INSERT INTO names (name, owner) VALUES (?, ?) IF NOT EXISTS").await?;
    assert!(claim.is_conditional());
    let first = session.query(&claim).bind(("ada", 1)).apply::<(String, i32)>().await?;
    assert_eq!(first, Applied::Applied);
    let second = session.query(&claim).bind(("ada", 2)).apply::<(String, i32)>().await?;
    assert_eq!(second, Applied::NotApplied(Some(("ada".to_owned(), 1))));
    Ok(())
}

async fn a_counter_adds_up(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE plays (song int PRIMARY KEY, plays counter)").execute().await?;
    for step in [3_i64, 4, -2] {
        let change = helenus::value::Counter(step);
        session.query("UPDATE plays SET plays = plays + ? WHERE song = 1").bind((change,)).execute().await?;
    }
    let (plays,): (helenus::value::Counter,) = session.query("SELECT plays FROM plays WHERE song = 1").one().await?;
    assert_eq!(plays.0, 5);
    Ok(())
}

async fn a_logged_batch_writes_all_its_rows(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session
        .query("CREATE TABLE playlist (list int, place int, title text, PRIMARY KEY (list, place))")
        .execute()
        .await?;
    let insert = session.prepare("INSERT INTO playlist (list, place, title) VALUES (?, ?, ?)").await?;
    let batch = session.batch(BatchType::Logged).push(&insert, (1, 1, "one")).push(&insert, (2, 1, "two"));
    batch.push("INSERT INTO playlist (list, place, title) VALUES (3, 1, 'three')", ()).execute().await?;
    let mut titles: Vec<(String,)> = session.query("SELECT title FROM playlist").all().await?;
    titles.sort();
    assert_eq!(titles, ["one", "three", "two"].map(|title| (title.to_owned(),)));
    Ok(())
}

async fn pages_cover_every_row_once(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE numbers (list int, n int, PRIMARY KEY (list, n))").execute().await?;
    let insert = session.prepare("INSERT INTO numbers (list, n) VALUES (1, ?)").await?;
    for n in 0..25 {
        session.query(&insert).bind((n,)).execute().await?;
    }
    let select = session.prepare("SELECT n FROM numbers WHERE list = 1").await?;
    let mut pages = session.query(&select).page_size(10).pages();
    let (mut sizes, mut seen) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await? {
        sizes.push(page.row_count());
        for row in page.rows::<(i32,)>()? {
            seen.push(row?.0);
        }
    }
    assert_eq!(sizes, [10, 10, 5]);
    assert_eq!(seen, (0..25).collect::<Vec<_>>());
    Ok(())
}

async fn a_statement_that_is_not_cql_is_a_syntax_error(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let error = session.query("SELEC * FROM system.local").execute().await.expect_err("it is not CQL");
    assert!(matches!(error.kind(), ErrorKind::Syntax(_)), "{error}");
    Ok(())
}

async fn an_unknown_table_is_invalid(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let error = session.query("SELECT * FROM absent").execute().await.expect_err("there is no such table");
    assert!(matches!(error.kind(), ErrorKind::Invalid(_)), "{error}");
    Ok(())
}

async fn creating_a_table_twice_says_which_exists(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE twice (id int PRIMARY KEY)").execute().await?;
    let error = session.query("CREATE TABLE twice (id int PRIMARY KEY)").execute().await.expect_err("it exists");
    let expected = ErrorKind::AlreadyExists { keyspace: stage.keyspace().to_owned(), table: "twice".to_owned() };
    assert_eq!(*error.kind(), expected);
    Ok(())
}

async fn text_batches_and_prepared_statements_may_name_their_keyspace(stage: Stage) -> Outcome {
    // The session itself is in no keyspace.
    let session = stage.session_outside(3, |builder| builder).await?;
    let keyspace = stage.keyspace();
    session.query("CREATE TABLE t (k int PRIMARY KEY, v text)").keyspace(keyspace).execute().await?;
    session.query("INSERT INTO t (k, v) VALUES (1, 'text')").keyspace(keyspace).execute().await?;
    session.query("INSERT INTO t (k, v) VALUES (?, ?)").bind((2, "bound")).keyspace(keyspace).execute().await?;
    let batch = session.batch(BatchType::Logged).push("INSERT INTO t (k, v) VALUES (3, 'batch')", ());
    batch.push("INSERT INTO t (k, v) VALUES (?, ?)", (4, "bound in it")).keyspace(keyspace).execute().await?;
    let select = session.prepare_with("SELECT v FROM t WHERE k = ?", PrepareOptions::new().keyspace(keyspace)).await?;
    for (k, v) in [(1, "text"), (2, "bound"), (3, "batch"), (4, "bound in it")] {
        let (found,): (String,) = session.query(&select).bind((k,)).one().await?;
        assert_eq!(found, v);
    }
    let elsewhere = session.query("SELECT v FROM t").execute().await.err().ok_or("there is no keyspace")?;
    assert!(matches!(elsewhere.kind(), ErrorKind::Invalid(_)), "{elsewhere}");
    let nowhere =
        session.query("SELECT v FROM t").keyspace("atlantis").execute().await.err().ok_or("no such keyspace")?;
    assert!(matches!(nowhere.kind(), ErrorKind::Invalid(_)), "{nowhere}");
    Ok(())
}
