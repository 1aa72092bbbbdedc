//! The `scylla` crate with its default session.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;

use futures::TryStreamExt;
use measure::{Arguments, BLOB, INSERT, PAGE_SIZE, POINT, SCAN, check_blob};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::value::{ListlikeIterator, MapIterator};
use scylla::response::{PagingState, PagingStateResponse};
use scylla::value::CqlTimestamp;
use uuid::Uuid;

type Owned = (i64, String, f64, CqlTimestamp, Uuid, Vec<i32>, HashMap<String, String>);
type Borrowed<'a> =
    (i64, &'a str, f64, CqlTimestamp, Uuid, ListlikeIterator<'a, 'a, i32>, MapIterator<'a, 'a, &'a str, &'a str>);

async fn session(arguments: &Arguments) -> Session {
    SessionBuilder::new().known_node(&arguments.address).build().await.expect("the stub answers")
}

fn main() {
    let arguments = &Arguments::parse();
    arguments.run(async {
        match arguments.workload.as_str() {
            "insert" => {
                let session = Arc::new(session(arguments).await);
                let insert = Arc::new(session.prepare(INSERT).await.expect("prepared"));
                measure::requests(arguments, move |number| {
                    let (session, insert) = (Arc::clone(&session), Arc::clone(&insert));
                    async move {
                        session.execute_unpaged(&insert, (number as i64, &BLOB[..])).await.expect("inserted");
                    }
                })
                .await;
            }
            "select" => {
                let session = Arc::new(session(arguments).await);
                let point = Arc::new(session.prepare(POINT).await.expect("prepared"));
                measure::requests(arguments, move |number| {
                    let (session, point) = (Arc::clone(&session), Arc::clone(&point));
                    async move {
                        let result = session.execute_unpaged(&point, (number as i64,)).await.expect("read");
                        let rows = result.into_rows_result().expect("rows");
                        let (blob,) = rows.single_row::<(&[u8],)>().expect("a row");
                        check_blob(blob, number as i64);
                    }
                })
                .await;
            }
            // The pager: pages fetched ahead by a task, rows streamed as owned values.
            "scan" => {
                let session = session(arguments).await;
                let mut scan = session.prepare(SCAN).await.expect("prepared");
                scan.set_page_size(PAGE_SIZE);
                measure::scans(async || {
                    let pager = session.execute_iter(scan.clone(), ()).await.expect("a pager");
                    let mut rows = pager.rows_stream::<Owned>().expect("the types match");
                    let mut count = 0;
                    while let Some(row) = rows.try_next().await.expect("a row") {
                        black_box(row);
                        count += 1;
                    }
                    count
                })
                .await;
            }
            // Page by page, rows borrowing from the page.
            "scan-borrowed" => {
                let session = session(arguments).await;
                let mut scan = session.prepare(SCAN).await.expect("prepared");
                scan.set_page_size(PAGE_SIZE);
                measure::scans(async || borrowed_scan(&session, &scan).await).await;
            }
            "connect" => {
                measure::connect(session(arguments), |session| {
                    let cluster = session.get_cluster_state();
                    let tables: usize = cluster.keyspaces_iter().map(|(_, keyspace)| keyspace.tables.len()).sum();
                    measure::known(cluster.get_nodes_info().len(), tables)
                })
                .await;
            }
            "idle" => measure::idle(arguments, || session(arguments)).await,
            other => panic!("unknown workload {other}"),
        }
    });
}

async fn borrowed_scan(session: &Session, scan: &scylla::statement::prepared::PreparedStatement) -> u64 {
    let (mut count, mut state) = (0, PagingState::start());
    loop {
        let (page, next): (_, PagingStateResponse) =
            session.execute_single_page(scan, (), state).await.expect("a page");
        let page = page.into_rows_result().expect("rows");
        for row in page.rows::<Borrowed>().expect("the types match") {
            let (k, name, score, at, id, tags, attrs) = row.expect("a row");
            black_box((k, name, score, at, id));
            tags.for_each(|tag| {
                black_box(tag.expect("an int"));
            });
            attrs.for_each(|attr| {
                black_box(attr.expect("a pair"));
            });
            count += 1;
        }
        match next.into_paging_control_flow() {
            ControlFlow::Break(()) => return count,
            ControlFlow::Continue(next) => state = next,
        }
    }
}
