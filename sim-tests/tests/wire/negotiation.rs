//! Which protocol version and compression a session ends up with.

use super::{are_all_up, builder, connect, create_table, eventually, run, seconds, use_table};
use helenus::protocol::compression::Compression;
use helenus::{Certainty, ErrorKind, ProtocolVersion};
use simcluster::fault::CrashKind;
use simcluster::{ClusterConfig, NodeId};
use std::time::Duration;

#[test]
fn a_session_speaks_the_newest_version_when_all_nodes_do() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        assert_eq!(session.protocol_version(), ProtocolVersion::V5);
        session
    });
}

#[test]
fn one_node_of_an_older_release_keeps_the_whole_session_at_its_version() {
    run(ClusterConfig::default().release_of(3, "3.11.19"), |sim| async move {
        let session = connect(&sim).await;
        assert_eq!(session.protocol_version(), ProtocolVersion::V4);
        assert!(are_all_up(&session, 3), "{:?}", session.node_states());
        session
    });
}

#[test]
fn a_contact_point_of_an_older_release_is_stepped_down_to() {
    run(ClusterConfig::default().release_of(1, "3.11.19"), |sim| async move {
        let session = connect(&sim).await;
        assert_eq!(session.protocol_version(), ProtocolVersion::V4);
        assert!(are_all_up(&session, 3), "{:?}", session.node_states());
        session
    });
}

#[test]
fn a_node_that_speaks_less_than_its_release_says_lowers_the_session_and_becomes_reachable() {
    for (version, expected) in [(4, ProtocolVersion::V4), (3, ProtocolVersion::V3)] {
        run(ClusterConfig::default().protocol_version_max_of(2, version), move |sim| async move {
            let session = connect(&sim).await;
            eventually("the version falls", || session.protocol_version() == expected).await;
            eventually("all nodes are up", || are_all_up(&session, 3)).await;
            create_table(&session).await;
            for k in 0..20 {
                use_table(&session, k, "after").await;
            }
            session
        });
    }
}

#[test]
fn requests_go_on_while_the_session_falls_to_an_older_version() {
    run(ClusterConfig::default().protocol_version_max_of(3, 4), |sim| async move {
        let setup = connect(&sim).await;
        create_table(&setup).await;
        setup.close(Duration::from_secs(5)).await;
        sim.crash(NodeId(3), CrashKind::Rst);
        let session = connect(&sim).await;
        assert_eq!(session.protocol_version(), ProtocolVersion::V5, "the two nodes that are up speak it");
        sim.restart(NodeId(3));
        let mut k = 0;
        while session.protocol_version() == ProtocolVersion::V5 {
            use_table(&session, k, "during").await;
            k += 1;
            assert!(k < 100_000, "the node came back and nobody noticed");
        }
        // Statements prepared before, on connections of the newer version, go on working.
        for k in 0..200 {
            use_table(&session, k, "after").await;
        }
        seconds(2).await;
        assert!(are_all_up(&session, 3), "{:?}", session.node_states());
        let connections = sim.open_client_connections(super::APP);
        assert_eq!(connections, 4, "one to each node and the control connection: nothing of the old version is left");
        session
    });
}

#[test]
fn every_version_and_compression_carries_large_values_both_ways() {
    let compressions = [None, Some(Compression::Lz4), Some(Compression::Snappy)];
    for version in [ProtocolVersion::V3, ProtocolVersion::V4, ProtocolVersion::V5] {
        for compression in compressions {
            run(ClusterConfig::default(), move |sim| async move {
                let mut builder = builder(&sim).protocol_version(version);
                if let Some(compression) = compression {
                    builder = builder.compression(compression);
                }
                let session = builder.connect().await.expect("a healthy cluster");
                assert_eq!(session.protocol_version(), version);
                create_table(&session).await;
                for (k, len) in [(1, 0), (2, 10), (3, 5_000), (4, 131_071), (5, 400_000)] {
                    let repetitive: String = "0123456789 helenus ".chars().cycle().take(len).collect();
                    use_table(&session, k, &repetitive).await;
                }
                session
            });
        }
    }
}

#[test]
fn a_version_below_the_newest_can_be_asked_for_and_a_still_older_node_is_followed() {
    run(ClusterConfig::default().protocol_version_max(3), |sim| async move {
        let session = builder(&sim).protocol_version(ProtocolVersion::V4).connect().await.expect("a healthy cluster");
        assert_eq!(session.protocol_version(), ProtocolVersion::V3);
        session
    });
}

#[test]
fn a_cluster_that_shares_no_version_with_the_driver_is_told_with_the_versions_of_the_driver() {
    simcluster::run(ClusterConfig::default().protocol_version_max(2).seed(7), |sim| async move {
        let error = builder(&sim).connect().await.expect_err("version 2 is too old");
        assert!(matches!(error.kind(), ErrorKind::UnsupportedProtocolVersion(_)), "{error}");
        assert_eq!(error.certainty(), Certainty::NotSent);
        assert!(error.to_string().contains("v3, v4 and v5"), "{error}");
    })
    .expect_clean();
}
