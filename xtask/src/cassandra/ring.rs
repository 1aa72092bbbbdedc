//! What a ring consists of, as data kept beside its nodes: later commands read it.

use super::ensure_folder;
use super::release::Release;
use std::path::{Path, PathBuf};

/// Most nodes of a ring; each takes about 1 GB of memory.
pub const NODES_MAX: u8 = 6;

/// A ring and where it lives.
#[derive(Clone, Debug)]
pub struct Ring {
    /// `target/cassandra`: the jars are here, shared by all rings.
    pub shared: PathBuf,
    /// The ring's own folder in it.
    pub folder: PathBuf,
    /// What it consists of.
    pub settings: Settings,
}

/// What a ring consists of.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// What the nodes run.
    pub release: Release,
    /// The nodes, by number.
    pub nodes: Vec<Node>,
    /// Whether clients must log in (`cassandra`/`cassandra` may).
    pub auth: bool,
    /// Tokens of each node.
    pub vnodes: u16,
    /// How partition keys become tokens.
    #[serde(default)]
    pub partitioner: Partitioner,
    /// Whether clients must use TLS.
    pub tls: bool,
    /// Whether nodes send custom payloads back, by Cassandra's own mirroring query handler.
    pub mirror_payload: bool,
    /// Whether schema changes stay in memory and the commit log: quicker by far, and a node that ends may not be started
    /// again.
    #[serde(default)]
    pub is_fleeting: bool,
    /// Whether nodes can be cut off from each other (see [`super::partition`]).
    #[serde(default)]
    pub can_be_cut: bool,
}

/// How partition keys become tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
pub enum Partitioner {
    /// By MurmurHash3, as every cluster made since Cassandra 1.2 unless somebody chose otherwise.
    #[default]
    Murmur3,
    /// By MD5.
    Random,
    /// The keys themselves, in order.
    ByteOrdered,
}

impl Partitioner {
    /// Cassandra's class.
    pub fn class(self) -> &'static str {
        match self {
            Self::Murmur3 => "org.apache.cassandra.dht.Murmur3Partitioner",
            Self::Random => "org.apache.cassandra.dht.RandomPartitioner",
            Self::ByteOrdered => "org.apache.cassandra.dht.ByteOrderedPartitioner",
        }
    }

    /// The token at the same place of the ring as this one of the default partitioner.
    pub fn token_at(self, token: i64) -> String {
        let place = token.cast_unsigned() ^ (1 << 63);
        match self {
            Self::Murmur3 => token.to_string(),
            // Its tokens have 127 bits.
            Self::Random => (u128::from(place) << 63).to_string(),
            Self::ByteOrdered => format!("{place:016x}"),
        }
    }
}

/// One node of a ring.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Node {
    /// Its number, from 1; never used again after it was decommissioned.
    pub number: u8,
    /// Its address is `127.0.0.` and this.
    pub octet: u8,
    /// Its data centre.
    pub datacenter: String,
    /// Its only token, unless the ring has vnodes: as a token of the default partitioner.
    pub token: i64,
    /// Whether it has to take over data when it starts for the first time.
    pub bootstraps: bool,
}

impl Settings {
    /// `nodes` nodes spread over `datacenters`, on addresses from `127.0.0.first` on. The first data centres get
    /// the odd nodes.
    pub fn new(release: Release, nodes: u8, datacenters: u8, first: u8) -> Self {
        let datacenters = datacenters.clamp(1, nodes.max(1));
        let sizes: Vec<u8> =
            (0..datacenters).map(|dc| nodes / datacenters + u8::from(dc < nodes % datacenters)).collect();
        let names: Vec<(String, u8)> =
            (1..).zip(sizes).map(|(n, size): (u8, u8)| (format!("datacenter{n}"), size)).collect();
        Self::of_datacenters(release, &names, first)
    }

    /// The data centres with their numbers of nodes, on addresses from `127.0.0.first` on.
    pub fn of_datacenters(release: Release, datacenters: &[(String, u8)], first: u8) -> Self {
        let mut nodes = Vec::new();
        for (shift, (datacenter, size)) in (0_i64..).zip(datacenters) {
            for index in 0..*size {
                let number = u8::try_from(nodes.len()).unwrap_or(u8::MAX).saturating_add(1);
                // Two nodes may not own one token, so each data centre's ring is turned a little.
                let token = even_token(index, *size).saturating_add(shift * 100);
                let octet = first.saturating_add(number - 1);
                nodes.push(Node { number, octet, datacenter: datacenter.clone(), token, bootstraps: false });
            }
        }
        Self {
            release,
            nodes,
            auth: false,
            vnodes: 1,
            partitioner: Partitioner::default(),
            tls: false,
            mirror_payload: false,
            is_fleeting: false,
            can_be_cut: false,
        }
    }

    /// A node by its number.
    pub fn node(&self, number: u8) -> Result<&Node, String> {
        let known = || self.nodes.iter().map(|node| node.number.to_string()).collect::<Vec<_>>().join(", ");
        let found = self.nodes.iter().find(|node| node.number == number);
        found.ok_or_else(|| format!("the ring has no node {number}, it has {}", known()))
    }

    /// Describes one more node of a data centre: the next number and address, half of the widest range.
    pub fn grow(&mut self, datacenter: &str) -> Result<u8, String> {
        if self.nodes.len() >= usize::from(NODES_MAX) {
            return Err(format!("the ring has {NODES_MAX} nodes already, more are too much for one machine"));
        }
        if self.nodes.iter().all(|node| node.datacenter != datacenter) {
            return Err(format!("the ring has no data centre {datacenter:?}"));
        }
        let highest = |of: fn(&Node) -> u8| self.nodes.iter().map(of).max().unwrap_or(0);
        let number = highest(|node| node.number) + 1;
        let octet = highest(|node| node.octet) + 1;
        let node = Node {
            number,
            octet,
            datacenter: datacenter.to_owned(),
            token: middle_of_widest(self.nodes.iter().map(|node| node.token).collect()),
            bootstraps: true,
        };
        self.nodes.push(node);
        Ok(number)
    }
}

impl Settings {
    /// Gives a node an address that no node had.
    pub fn relocate(&mut self, number: u8) -> Result<(), String> {
        self.node(number)?;
        let unused = self.nodes.iter().map(|node| node.octet).max().unwrap_or(0) + 1;
        for node in self.nodes.iter_mut().filter(|node| node.number == number) {
            node.octet = unused;
        }
        Ok(())
    }
}

impl Node {
    /// `127.0.0.octet`.
    pub fn address(&self) -> String {
        format!("127.0.0.{}", self.octet)
    }

    /// Where its JMX server listens, on the loopback interface only.
    pub fn jmx_port(&self) -> u16 {
        7_200 + u16::from(self.octet)
    }
}

impl Ring {
    /// The ring whose first address is `127.0.0.first`, as it was left.
    pub fn open(root: &Path, first: u8) -> Result<Self, String> {
        let (shared, folder) = folders(root, first);
        let found = Self::read(shared, folder)?;
        found.ok_or_else(|| "there is no ring: `cargo xtask cassandra up` starts one".to_owned())
    }

    /// The same ring as it is now: nodes may have come and gone. `None` if it has ended.
    pub fn reread(&self) -> Result<Option<Self>, String> {
        Self::read(self.shared.clone(), self.folder.clone())
    }

    fn read(shared: PathBuf, folder: PathBuf) -> Result<Option<Self>, String> {
        let path = folder.join(SETTINGS);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        let settings = serde_json::from_str(&text).map_err(|e| {
            format!("{} cannot be read ({e}): end the nodes by their pid files, delete the folder", path.display())
        })?;
        Ok(Some(Self { shared, folder, settings }))
    }

    /// A new ring; nothing is written yet.
    pub fn new(root: &Path, first: u8, settings: Settings) -> Self {
        let (shared, folder) = folders(root, first);
        Self { shared, folder, settings }
    }

    /// Remembers what the ring consists of.
    pub fn save(&self) -> Result<(), String> {
        let path = ensure_folder(&self.folder)?.join(SETTINGS);
        let text =
            serde_json::to_string_pretty(&self.settings).map_err(|e| format!("cannot describe the ring: {e}"))?;
        std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
    }

    /// Where node `n` keeps everything.
    pub fn node_folder(&self, n: u8) -> PathBuf {
        self.folder.join(format!("node{n}"))
    }

    /// Node `n`'s log.
    pub fn log(&self, n: u8) -> PathBuf {
        self.node_folder(n).join("logs").join("system.log")
    }
}

/// The folder shared by all rings, and that of the ring from `127.0.0.first` on.
fn folders(root: &Path, first: u8) -> (PathBuf, PathBuf) {
    let shared = root.join("target").join("cassandra");
    let folder = shared.join(format!("ring-{first}"));
    (shared, folder)
}

/// An even ring without vnodes forms at once, without bootstrapping.
fn even_token(index: u8, of: u8) -> i64 {
    let step = (1_i128 << 64) / i128::from(of.max(1));
    let token = i128::from(i64::MIN) + step * i128::from(index);
    i64::try_from(token).unwrap_or(i64::MIN)
}

/// The middle of the widest range between two tokens, around the ring.
fn middle_of_widest(mut tokens: Vec<i64>) -> i64 {
    tokens.sort_unstable();
    let ends = tokens.iter().skip(1).map(|token| i128::from(*token));
    let ends = ends.chain(tokens.first().map(|first| i128::from(*first) + (1_i128 << 64)));
    let ranges = tokens.iter().map(|token| i128::from(*token)).zip(ends);
    let (start, end) = ranges.max_by_key(|(start, end)| end - start).unwrap_or((0, 0));
    let middle = start + (end - start) / 2;
    // Past the greatest token the ring begins again.
    i64::try_from(middle).unwrap_or_else(|_| i64::try_from(middle - (1_i128 << 64)).unwrap_or(0))
}

const SETTINGS: &str = "ring.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_place_on_the_ring_of_every_partitioner() {
        let at = |token| {
            [Partitioner::Murmur3, Partitioner::Random, Partitioner::ByteOrdered].map(|kind| kind.token_at(token))
        };
        assert_eq!(at(i64::MIN), ["-9223372036854775808", "0", "0000000000000000"]);
        assert_eq!(at(0), ["0", "85070591730234615865843651857942052864", "8000000000000000"]);
    }

    #[test]
    fn tokens_of_a_ring_of_three_are_even() {
        let tokens: Vec<i64> = Settings::new(Release::V50, 3, 1, 1).nodes.iter().map(|node| node.token).collect();
        assert_eq!(tokens, [i64::MIN, -3_074_457_345_618_258_603, 3_074_457_345_618_258_602]);
    }

    #[test]
    fn nodes_are_spread_over_the_data_centres_and_own_different_tokens() {
        let settings = Settings::new(Release::V41, 5, 2, 4);
        let datacenters: Vec<&str> = settings.nodes.iter().map(|node| &*node.datacenter).collect();
        assert_eq!(datacenters, ["datacenter1", "datacenter1", "datacenter1", "datacenter2", "datacenter2"]);
        assert_eq!(settings.nodes[4].address(), "127.0.0.8");
        let tokens: std::collections::BTreeSet<i64> = settings.nodes.iter().map(|node| node.token).collect();
        assert_eq!(tokens.len(), 5);
    }

    #[test]
    fn an_added_node_halves_the_widest_range() {
        let mut settings = Settings::new(Release::V50, 2, 1, 1);
        assert_eq!(settings.grow("datacenter1"), Ok(3));
        assert_eq!(settings.nodes[2].token, 4_611_686_018_427_387_904, "of equal ranges the last is halved");
        assert_eq!(settings.nodes[2].address(), "127.0.0.3");
        assert!(settings.grow("elsewhere").is_err());
    }

    #[test]
    fn a_node_that_left_gives_its_number_to_nobody() {
        let mut settings = Settings::new(Release::V50, 3, 1, 1);
        settings.grow("datacenter1").unwrap();
        settings.nodes.retain(|node| node.number != 2);
        assert_eq!(settings.grow("datacenter1"), Ok(5));
        assert!(settings.node(2).unwrap_err().contains("1, 3, 4, 5"));
    }
}
