//! Results in pages, by hand and as a stream.

use super::{Outcome, Stage, subject};
use helenus::Session;

subject! { "paging";
    a_stream_yields_every_row_in_order,
    a_scan_over_all_partitions_finds_every_row_once,
    a_paging_state_goes_on_where_it_was_taken,
    a_paging_state_goes_on_in_another_session,
    the_last_page_says_so_even_if_it_is_full,
    a_limit_ends_a_paged_result,
    a_page_larger_than_the_result_is_the_only_one,
}

const ROWS: i32 = 100;

async fn filled(stage: &Stage) -> Result<Session, helenus::Error> {
    let session = stage.session().await?;
    session.query("CREATE TABLE wide (list int, n int, PRIMARY KEY (list, n))").execute().await?;
    let insert = session.prepare("INSERT INTO wide (list, n) VALUES (?, ?)").await?;
    for n in 0..ROWS {
        session.query(&insert).bind((1, n)).execute().await?;
        session.query(&insert).bind((n + 2, n)).execute().await?;
    }
    Ok(session)
}

async fn a_stream_yields_every_row_in_order(stage: Stage) -> Outcome {
    let session = filled(&stage).await?;
    let mut rows = session.query("SELECT n FROM wide WHERE list = 1").page_size(7).stream::<(i32,)>();
    let mut seen = Vec::new();
    while let Some(row) = rows.next().await {
        seen.push(row?.0);
    }
    assert_eq!(seen, (0..ROWS).collect::<Vec<_>>());
    Ok(())
}

async fn a_scan_over_all_partitions_finds_every_row_once(stage: Stage) -> Outcome {
    let session = filled(&stage).await?;
    for page_size in [1, 13, 5_000] {
        let mut rows: Vec<(i32, i32)> = session.query("SELECT list, n FROM wide").page_size(page_size).all().await?;
        assert_eq!(rows.len(), 200, "pages of {page_size}");
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), 200, "pages of {page_size}");
    }
    Ok(())
}

async fn a_paging_state_goes_on_where_it_was_taken(stage: Stage) -> Outcome {
    let session = filled(&stage).await?;
    let select = session.prepare("SELECT n FROM wide WHERE list = 1").await?;
    let first = session.query(&select).page_size(30).execute().await?;
    let state = first.paging_state().ok_or("there are more rows")?;
    for _ in 0..2 {
        let rest = session.query(&select).page_size(ROWS).paging_state(state.clone()).execute().await?;
        let numbers: Vec<i32> = rest.rows::<(i32,)>()?.map(|row| row.map(|(n,)| n)).collect::<Result<_, _>>()?;
        assert_eq!(numbers, (30..ROWS).collect::<Vec<_>>());
    }
    Ok(())
}

async fn a_paging_state_goes_on_in_another_session(stage: Stage) -> Outcome {
    let session = filled(&stage).await?;
    let text = "SELECT n FROM wide WHERE list = 1";
    let first = session.query(text).page_size(30).execute().await?;
    let state = first.paging_state().ok_or("there are more rows")?;
    for node in 1..=3 {
        let other = stage.pinned(node).await?;
        let rest = other.query(text).page_size(30).paging_state(state.clone()).execute().await?;
        assert_eq!(rest.rows::<(i32,)>()?.next().transpose()?, Some((30,)), "on node {node}");
    }
    Ok(())
}

async fn the_last_page_says_so_even_if_it_is_full(stage: Stage) -> Outcome {
    let session = filled(&stage).await?;
    let mut pages = session.query("SELECT n FROM wide WHERE list = 1").page_size(ROWS / 4).pages();
    let mut rows = 0;
    while let Some(page) = pages.next().await? {
        rows += page.row_count();
    }
    assert_eq!(rows, 100);
    assert!(pages.next().await?.is_none());
    Ok(())
}

async fn a_limit_ends_a_paged_result(stage: Stage) -> Outcome {
    let session = filled(&stage).await?;
    let rows: Vec<(i32,)> = session.query("SELECT n FROM wide WHERE list = 1 LIMIT 25").page_size(10).all().await?;
    assert_eq!(rows.len(), 25);
    Ok(())
}

async fn a_page_larger_than_the_result_is_the_only_one(stage: Stage) -> Outcome {
    let session = filled(&stage).await?;
    let page = session.query("SELECT n FROM wide WHERE list = 1").page_size(5_000).execute().await?;
    assert_eq!(page.row_count(), 100);
    assert_eq!(page.paging_state(), None);
    Ok(())
}
