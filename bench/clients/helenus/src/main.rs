//! `helenus` with its default session.

use std::collections::BTreeMap;
use std::hint::black_box;

use helenus::Session;
use helenus::value::{CqlTimestamp, ListIterator, MapIterator};
use measure::{Arguments, BLOB, INSERT, PAGE_SIZE, POINT, SCAN, check_blob};
use uuid::Uuid;

type Owned = (i64, String, f64, CqlTimestamp, Uuid, Vec<i32>, BTreeMap<String, String>);
type Borrowed<'a> = (i64, &'a str, f64, CqlTimestamp, Uuid, ListIterator<'a, i32>, MapIterator<'a, &'a str, &'a str>);

async fn session(arguments: &Arguments) -> Session {
    Session::builder().contact_point(&arguments.address).connect().await.expect("the stub answers")
}

fn main() {
    let arguments = &Arguments::parse();
    arguments.run(async {
        match arguments.workload.as_str() {
            "insert" => {
                let session = session(arguments).await;
                let insert = session.prepare(INSERT).await.expect("prepared");
                measure::requests(arguments, move |number| {
                    let (session, insert) = (session.clone(), insert.clone());
                    async move {
                        session.query(&insert).bind((number as i64, &BLOB[..])).execute().await.expect("inserted");
                    }
                })
                .await;
            }
            "select" => {
                let session = session(arguments).await;
                let point = session.prepare(POINT).await.expect("prepared");
                measure::requests(arguments, move |number| {
                    let (session, point) = (session.clone(), point.clone());
                    async move {
                        let result = session.query(&point).bind((number as i64,)).execute().await.expect("read");
                        let (blob,) = result.rows::<(&[u8],)>().expect("rows").next().expect("a row").expect("a blob");
                        check_blob(blob, number as i64);
                    }
                })
                .await;
            }
            "scan" => {
                let session = session(arguments).await;
                let scan = session.prepare(SCAN).await.expect("prepared");
                measure::scans(async || {
                    let mut rows = session.query(&scan).page_size(PAGE_SIZE).stream::<Owned>();
                    let mut count = 0;
                    while let Some(row) = rows.next().await {
                        black_box(row.expect("a row"));
                        count += 1;
                    }
                    count
                })
                .await;
            }
            "scan-borrowed" => {
                let session = session(arguments).await;
                let scan = session.prepare(SCAN).await.expect("prepared");
                measure::scans(async || {
                    let mut pages = session.query(&scan).page_size(PAGE_SIZE).pages();
                    let mut count = 0;
                    while let Some(page) = pages.next().await.expect("a page") {
                        for row in page.rows::<Borrowed>().expect("rows") {
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
                    }
                    count
                })
                .await;
            }
            "connect" => {
                measure::connect(session(arguments), |session| {
                    let cluster = session.cluster();
                    let tables: usize = cluster.keyspaces().map(|keyspace| keyspace.tables.len()).sum();
                    measure::known(cluster.nodes().len(), tables)
                })
                .await;
            }
            "idle" => measure::idle(arguments, || session(arguments)).await,
            other => panic!("unknown workload {other}"),
        }
    });
}
