//! `cargo xtask serve`: a simulated cluster on loopback TCP, for any client that speaks the native protocol.

use crate::exit::{Exit, refuse};
use simcluster::cluster::ClusterConfig;
use simcluster::engine::tcp::{self, TcpCluster, TcpConfig};
use simcluster::entropy::Entropy;
use std::net::{Ipv4Addr, SocketAddr};

/// Serves until Ctrl-C. Node N listens on 127.0.0.N; all use the same port, as Cassandra's drivers expect.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArguments {
    /// How many nodes, in all data centres together.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=250))]
    nodes: u32,
    /// How many data centres (`dc1`, `dc2`, …); the nodes are dealt out evenly.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    dcs: u32,
    /// Tokens per node.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    vnodes: u32,
    /// The release to pose as.
    #[arg(long, default_value = "5.0", value_parser = ["5.0", "4.1", "4.0", "3.11"])]
    cassandra: String,
    /// The port of every node.
    #[arg(long, default_value_t = 9042, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Decides host ids, tokens and the nodes' random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Demand authentication and accept this user; may be repeated.
    #[arg(long, value_name = "NAME:PASSWORD", value_parser = user)]
    user: Vec<(String, String)>,
}

/// Serves; ends with Ctrl-C or with the sentence of what is wrong.
pub fn run(arguments: &ServeArguments) -> Exit {
    if arguments.dcs > arguments.nodes {
        let sentence = format!(
            "{} data centres need at least as many nodes: give --nodes {} or more",
            arguments.dcs, arguments.dcs
        );
        return refuse(&sentence, Exit::Usage);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return refuse(&format!("cannot start: {e}"), Exit::Failed),
    };
    let config = TcpConfig { nodes: node_configs(arguments), entropy: Entropy::new(arguments.seed) };
    let served = runtime.block_on(tcp::serve(config, |cluster| announce(&cluster), async {
        // Without a signal handler the default one ends the process: nothing more to do here.
        let _ = tokio::signal::ctrl_c().await;
    }));
    match served {
        Ok(()) => Exit::Pass,
        Err(e) => refuse(&e.to_string(), Exit::Failed),
    }
}

fn announce(cluster: &TcpCluster) {
    let shown: Vec<String> = cluster.contact_points().iter().map(ToString::to_string).collect();
    println!("serving {}; Ctrl-C ends it", shown.join(", "));
}

fn node_configs(arguments: &ServeArguments) -> Vec<simcluster::node::NodeConfig> {
    let release = match arguments.cassandra.as_str() {
        "3.11" => ("3.11.19", 4),
        "4.0" => ("4.0.19", 5),
        "4.1" => ("4.1.10", 5),
        _ => ("5.0.8", 5),
    };
    let mut config = ClusterConfig::default()
        .seed(arguments.seed)
        .vnodes(arguments.vnodes)
        .release(release.0)
        .protocol_version_max(release.1)
        .mirror_custom_payload(false);
    if !arguments.user.is_empty() {
        config = config.users(arguments.user.iter().cloned());
    }
    for number in 0..arguments.dcs {
        let extra = u32::from(number < arguments.nodes % arguments.dcs);
        config = config.datacenter(format!("dc{}", number + 1), arguments.nodes / arguments.dcs + extra);
    }
    let mut configs = config.node_configs();
    for (config, number) in configs.iter_mut().zip(1..=u8::MAX) {
        config.address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, number), arguments.port));
    }
    configs
}

fn user(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, password)) if !name.is_empty() => Ok((name.into(), password.into())),
        _ => Err(format!("`{text}` is no user: write NAME:PASSWORD")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ServeArguments,
    }

    fn parsed(line: &str) -> Result<ServeArguments, clap::Error> {
        Line::try_parse_from(["serve"].into_iter().chain(line.split_whitespace())).map(|line| line.arguments)
    }

    #[test]
    fn nodes_are_dealt_out_to_the_data_centres() {
        let configs = node_configs(&parsed("--nodes 5 --dcs 2 --port 9999").unwrap());
        let places: Vec<(&str, String)> =
            configs.iter().map(|c| (c.location.datacenter.as_str(), c.address.to_string())).collect();
        assert_eq!(places[0], ("dc1", "127.0.0.1:9999".to_string()));
        assert_eq!(places[4], ("dc2", "127.0.0.5:9999".to_string()));
        assert_eq!(places.iter().filter(|(dc, _)| *dc == "dc1").count(), 3);
    }

    #[test]
    fn bad_flags_are_refused() {
        for line in ["--nodes 0", "--nodes 251", "--cassandra 2.1", "--user nameless", "--port 0", "--unknown"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
