//! `cdrs-tokio` with token-aware load balancing and its default pool. It has no borrowed rows.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use cdrs_tokio::cluster::session::{Session, SessionBuilder, TcpSessionBuilder};
use cdrs_tokio::cluster::{NodeTcpConfigBuilder, TcpConnectionManager};
use cdrs_tokio::frame::TryFromRow;
use cdrs_tokio::load_balancing::TopologyAwareLoadBalancingStrategy;
use cdrs_tokio::query_values;
use cdrs_tokio::transport::TransportTcp;
use cdrs_tokio::types::ByIndex;
use cdrs_tokio::types::blob::Blob;
use cdrs_tokio::types::prelude::*;
use cdrs_tokio::types::rows::Row;
use measure::{Arguments, BLOB, INSERT, PAGE_SIZE, POINT, SCAN, check_blob};
use uuid::Uuid;

type Policy = TopologyAwareLoadBalancingStrategy<TransportTcp, TcpConnectionManager>;
type CdrsSession = Session<TransportTcp, TcpConnectionManager, Policy>;
type Owned = (i64, String, f64, i64, Uuid, Vec<i32>, HashMap<String, String>);

struct Mixed(Owned);

impl TryFromRow for Mixed {
    fn try_from_row(row: Row) -> cdrs_tokio::error::Result<Self> {
        Ok(Self((
            row.r_by_index(0)?,
            row.r_by_index(1)?,
            row.r_by_index(2)?,
            row.r_by_index(3)?,
            row.r_by_index(4)?,
            row.r_by_index::<List>(5)?.as_r_type()?,
            row.r_by_index::<Map>(6)?.as_r_type()?,
        )))
    }
}

async fn session(arguments: &Arguments) -> CdrsSession {
    let config = NodeTcpConfigBuilder::new().with_contact_point(arguments.address.clone().into());
    let config = config.build().await.expect("an address");
    TcpSessionBuilder::new(Policy::new(None, true), config).build().await.expect("the stub answers")
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
                        let values = query_values!(number as i64, Blob::new(BLOB.to_vec()));
                        session.exec_with_values(&insert, values).await.expect("inserted");
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
                        let answer = session.exec_with_values(&point, query_values!(number as i64)).await;
                        let rows = answer.expect("read").response_body().expect("a body").into_rows().expect("rows");
                        let blob: Blob = rows[0].r_by_index(0).expect("a blob");
                        check_blob(&blob.into_vec(), number as i64);
                    }
                })
                .await;
            }
            "scan" => {
                let session = session(arguments).await;
                let scan = session.prepare(SCAN).await.expect("prepared");
                measure::scans(async || {
                    let mut pager = session.paged(PAGE_SIZE);
                    let mut pager = pager.exec(&scan);
                    let mut count = 0;
                    loop {
                        for row in pager.next().await.expect("a page") {
                            black_box(Mixed::try_from_row(row).expect("a row").0);
                            count += 1;
                        }
                        if !pager.has_more() {
                            return count;
                        }
                    }
                })
                .await;
            }
            "connect" => {
                measure::connect(session(arguments), |session| {
                    measure::known(session.cluster_metadata().nodes().len(), 0)
                })
                .await;
            }
            "idle" => measure::idle(arguments, || session(arguments)).await,
            other => panic!("unknown workload {other}"),
        }
    });
}
