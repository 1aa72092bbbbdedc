//! What an application may bring itself: a way to dial, types of values.

use super::{APP, builder, create_table, run, use_table};
use helenus::env::{BoxFuture, ByteStream, Transport};
use helenus::value::{CqlType, DecodeValue, EncodeValue, ValueError};
use helenus::{Environment, ErrorKind};
use simcluster::ClusterConfig;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

/// Dials the nodes of a cluster that announces addresses behind a gateway, and keeps the book.
struct Gateway {
    inner: Arc<dyn Transport>,
    dialled: Mutex<BTreeSet<SocketAddr>>,
}

impl Transport for Gateway {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        self.dialled.lock().unwrap().insert(address);
        self.inner.connect(address)
    }

    fn resolve(&self, _: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(std::future::ready(Ok(vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), port)])))
    }
}

#[test]
fn a_dialler_of_the_applications_own_opens_every_connection_and_resolves_every_name() {
    run(ClusterConfig::default(), |sim| async move {
        let environment = sim.environment(APP);
        let gateway = Arc::new(Gateway { inner: environment.transport.clone(), dialled: Mutex::default() });
        let environment = Environment { transport: gateway.clone(), ..environment };
        let session = helenus::Session::builder()
            .environment(environment)
            .contact_point("name.known.to.the.gateway.alone:9042")
            .connect()
            .await
            .expect("the gateway knows the name");
        create_table(&session).await;
        use_table(&session, 1, "through the gateway").await;
        let nodes: BTreeSet<SocketAddr> = sim.nodes().iter().map(|node| node.address).collect();
        super::eventually("every node has been dialled", || *gateway.dialled.lock().unwrap() == nodes).await;
        session
    });
}

/// Degrees Celsius, kept as hundredths in an `int`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Celsius(f32);

impl EncodeValue for Celsius {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        #[expect(clippy::cast_possible_truncation, reason = "temperatures are small numbers")]
        let hundredths = (self.0 * 100.0).round() as i32;
        hundredths.encode(cql_type, out)
    }
}

impl<'a> DecodeValue<'a> for Celsius {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        i32::check(cql_type)
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        #[expect(clippy::cast_precision_loss, reason = "temperatures are small numbers")]
        i32::decode(cql_type, content).map(|hundredths| Self(hundredths as f32 / 100.0))
    }
}

#[test]
fn a_type_of_the_applications_own_is_bound_read_and_checked_as_the_drivers_types_are() {
    run(ClusterConfig::default(), |sim| async move {
        let session = builder(&sim).connect().await.expect("the cluster is healthy");
        create_table(&session).await;
        let create = "CREATE TABLE ks.readings (place text PRIMARY KEY, now int, past list<int>)";
        session.query(create).execute().await.expect("a new table");
        let (now, past) = (Celsius(-3.25), vec![Celsius(20.5), Celsius(0.0)]);
        let insert = session.query("INSERT INTO ks.readings (place, now, past) VALUES ('roof', ?, ?)");
        insert.bind((now, past.clone())).execute().await.expect("an int and a list of them");
        let select = session.query("SELECT now, past FROM ks.readings WHERE place = 'roof'");
        let read: (Celsius, Vec<Celsius>) = select.one().await.expect("one row");
        assert_eq!(read, (now, past));
        let place = session.query("SELECT place FROM ks.readings").one::<(Celsius,)>().await;
        let error = place.expect_err("a text is no temperature");
        assert!(matches!(error.kind(), ErrorKind::Row(_)), "{error:?}");
        session
    });
}
