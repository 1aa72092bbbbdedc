//! Opens sessions with the settings that a plan draws.

use crate::plan::{Compression, Plan, RetryChoice};
use helenus::topology::KeyspaceFilter;
use helenus::{Environment, Error, Session};
use std::sync::Arc;
use std::time::Duration;

/// The data centre that sessions call their own.
pub const LOCAL_DATACENTER: &str = "dc1";

/// Opens a session with the settings of a plan.
///
/// # Errors
///
/// As [`helenus::SessionBuilder::connect`].
pub async fn connect(plan: &Plan, environment: Environment, contact_points: &[String]) -> Result<Session, Error> {
    let settings = &plan.driver;
    let ms = Duration::from_millis;
    let compression = match settings.compression {
        Compression::None => None,
        Compression::Lz4 => Some(helenus::protocol::compression::Compression::Lz4),
        Compression::Snappy => Some(helenus::protocol::compression::Compression::Snappy),
    };
    let mut builder = Session::builder()
        .contact_points(contact_points.iter().cloned())
        .environment(environment)
        .local_datacenter(LOCAL_DATACENTER)
        .request_timeout(ms(settings.request_timeout_ms))
        .connect_timeout(ms(settings.connect_timeout_ms))
        .reconnection(Arc::new(helenus::policy::ExponentialReconnection::new(
            ms(settings.reconnect_base_ms),
            ms(settings.reconnect_max_ms),
        )))
        .schema_event_refresh_window(Some(ms(settings.schema_window_ms)))
        .topology_event_refresh_window(Some(ms(settings.topology_window_ms)))
        .status_event_refresh_window(Some(ms(settings.status_window_ms)))
        .metadata_refresh_interval(ms(settings.metadata_refresh_ms))
        .heartbeat(ms(settings.heartbeat_interval_ms), ms(settings.heartbeat_timeout_ms))
        // Nothing asks for the server's own tables, and a run connects many times.
        .keyspace_filter(KeyspaceFilter::all().except(["system*"]))
        .page_size(settings.page_size)
        .protocol_version(version(settings.protocol_version))
        .connections_per_node(settings.connections_per_node as usize)
        .in_flight_max(settings.in_flight_max as usize)
        // Orphans must be able to reach their limit, else a connection full of them would never be replaced.
        .orphans_max((settings.in_flight_max as usize / 2).clamp(1, 256));
    if settings.attempt_timeout_ms > 0 {
        builder = builder.attempt_timeout(ms(settings.attempt_timeout_ms));
    }
    if !settings.prepare_on_all_nodes {
        builder = builder.prepare_on_all_nodes(0, Duration::ZERO);
    }
    if !settings.prepare_on_up {
        builder = builder.prepare_on_up(0);
    }
    if let Some(compression) = compression {
        builder = builder.compression(compression);
    }
    if plan.cluster.authentication {
        builder = builder.credentials(USER, PASSWORD);
    }
    if settings.speculation_ms > 0 {
        builder = builder.speculative_execution(Arc::new(helenus::policy::ConstantSpeculation {
            max_extra: settings.speculations_max,
            delay: ms(settings.speculation_ms),
        }));
    }
    builder = match settings.retry {
        RetryChoice::Default => builder,
        RetryChoice::Fallthrough => builder.retry(Arc::new(helenus::policy::Fallthrough)),
        RetryChoice::BackOff => builder.retry(Arc::new(helenus::policy::ExponentialBackOff::default())),
    };
    builder.connect().await
}

const fn version(number: u8) -> helenus::ProtocolVersion {
    match number {
        3 => helenus::ProtocolVersion::V3,
        4 => helenus::ProtocolVersion::V4,
        _ => helenus::ProtocolVersion::V5,
    }
}

/// The user of clusters that demand a login.
pub const USER: &str = "songs";

/// Its password.
pub const PASSWORD: &str = "of experience";
