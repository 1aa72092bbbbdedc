//! What is really in the cluster at the end of a run, read past the network.

use std::collections::{BTreeMap, BTreeSet};

/// The merged data of all nodes, and for songs each replica's own copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// The operation that wrote each song's title.
    pub songs: BTreeMap<u32, u32>,
    /// For each song and replica, the operation that wrote the replica's title; `None` if it has none.
    pub song_copies: BTreeMap<u32, BTreeMap<u32, Option<u32>>>,
    /// For each song, the operations that added its tags.
    pub tags: BTreeMap<u32, BTreeSet<u32>>,
    /// For each playlist, its entries in order.
    pub entries: BTreeMap<u32, BTreeSet<i32>>,
    /// Each song's plays.
    pub plays: BTreeMap<u32, i64>,
    /// The operation that holds each user name.
    pub users: BTreeMap<u32, u32>,
}
