//! Reads the final data past the network, through the simulation's oracle.

use crate::app::{self, KEYSPACE, number_of, numbers_in};
use crate::plan::{Action, Plan};
use crate::truth::Truth;
use bytes::Bytes;
use simcluster::{NodeId, SimCluster};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Reads everything that the checkers compare.
///
/// # Errors
///
/// The oracle's own text, which is always the simulator's fault.
pub(super) fn read(sim: &SimCluster, plan: &Plan) -> Result<Truth, String> {
    let mut truth = Truth::default();
    for row in rows(sim, None, "SELECT id, title, tags FROM ks.songs")? {
        let song = uuid(&row[0]).map(number_of).unwrap_or_default();
        if let Some(operation) = title_of(&row[1]) {
            truth.songs.insert(song, operation);
        }
        truth.tags.insert(song, set_of_numbers(&row[2]));
    }
    for row in rows(sim, None, "SELECT id, song_order FROM ks.playlists")? {
        let playlist = uuid(&row[0]).map(number_of).unwrap_or_default();
        truth.entries.entry(playlist).or_default().extend(int(&row[1]));
    }
    for row in rows(sim, None, "SELECT song, plays FROM ks.plays")? {
        let song = uuid(&row[0]).map(number_of).unwrap_or_default();
        truth.plays.insert(song, long(&row[1]).unwrap_or(0));
    }
    for row in rows(sim, None, "SELECT name, operation FROM ks.users")? {
        let user = text(&row[0]).and_then(|name| numbers_in(&name).first().copied()).unwrap_or_default();
        if let Some(operation) = int(&row[1]).and_then(|operation| u32::try_from(operation).ok()) {
            truth.users.insert(user, operation);
        }
    }
    let songs: BTreeSet<u32> = plan
        .operations
        .iter()
        .filter_map(|operation| match operation.action {
            Action::AddSong { song } => Some(song),
            _ => None,
        })
        .collect();
    for song in songs {
        let id = app::song_id(song);
        for replica in sim.replicas(KEYSPACE, id.as_bytes()) {
            let found = rows(sim, Some(replica), &format!("SELECT title FROM ks.songs WHERE id = {id}"))?;
            let operation = found.first().and_then(|row| title_of(&row[0]));
            truth.song_copies.entry(song).or_default().insert(replica.0, operation);
        }
    }
    Ok(truth)
}

type Row = Vec<Option<Bytes>>;

fn rows(sim: &SimCluster, node: Option<NodeId>, select: &str) -> Result<Vec<Row>, String> {
    let select = select.replace("ks.", &format!("{KEYSPACE}."));
    let answer = match node {
        Some(node) => sim.query_node(node, &select),
        None => sim.query_all(&select),
    };
    answer.map(|answer| answer.rows).map_err(|error| format!("{select}: {error:?}"))
}

fn text(cell: &Option<Bytes>) -> Option<String> {
    cell.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn title_of(cell: &Option<Bytes>) -> Option<u32> {
    numbers_in(&text(cell)?).get(1).copied()
}

fn uuid(cell: &Option<Bytes>) -> Option<Uuid> {
    Uuid::from_slice(cell.as_deref()?).ok()
}

fn int(cell: &Option<Bytes>) -> Option<i32> {
    cell.as_deref()?.try_into().ok().map(i32::from_be_bytes)
}

fn long(cell: &Option<Bytes>) -> Option<i64> {
    cell.as_deref()?.try_into().ok().map(i64::from_be_bytes)
}

/// The numbers in the texts of a serialised `set<text>`: a count, then length and bytes of each element.
fn set_of_numbers(cell: &Option<Bytes>) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    let Some(mut rest) = cell.as_deref().and_then(|bytes| bytes.get(4..)) else { return numbers };
    while let Some((len, tail)) = rest.split_first_chunk::<4>() {
        let len = usize::try_from(i32::from_be_bytes(*len)).unwrap_or(0);
        let Some((element, tail)) = tail.split_at_checked(len) else { return numbers };
        numbers.extend(numbers_in(&String::from_utf8_lossy(element)));
        rest = tail;
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialised_sets_give_their_numbers() {
        let mut bytes = vec![0, 0, 0, 2];
        for element in [app::tag(7), app::tag(12)] {
            bytes.extend(i32::try_from(element.len()).expect("short").to_be_bytes());
            bytes.extend(element.as_bytes());
        }
        assert_eq!(set_of_numbers(&Some(bytes.into())), BTreeSet::from([7, 12]));
        assert!(set_of_numbers(&None).is_empty());
        assert!(set_of_numbers(&Some(Bytes::from_static(&[0, 0, 0, 1, 0, 0]))).is_empty());
    }
}
