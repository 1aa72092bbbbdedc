//! The application under test: songs and playlists, as the Cassandra tutorials have them.
//!
//! [`client`] is written as an application programmer would write it, against the driver's public API only. This file
//! says what is stored: every value names the key it belongs to and the operation that wrote it, so that a row in the
//! wrong place shows itself.

pub mod client;
pub mod connect;
mod outcome;

use crate::history::Nonce;
use crate::plan::Action;
use uuid::Uuid;

/// The keyspace of the application.
pub const KEYSPACE: &str = "songs_app";

/// The name of the playlist that number 0 of the static ones gets; smaller numbers are playlists that grow.
pub const STATIC_PLAYLISTS: u32 = 1_000;

/// The CREATE statements, in order; `{replication}` is the map of replication options.
#[must_use]
pub fn schema(replication: &str) -> Vec<String> {
    vec![
        format!("CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {replication}"),
        format!(
            "CREATE TABLE IF NOT EXISTS {KEYSPACE}.songs \
             (id uuid PRIMARY KEY, title text, album text, artist text, tags set<text>, data blob)"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {KEYSPACE}.playlists \
             (id uuid, song_order int, title text, PRIMARY KEY (id, song_order))"
        ),
        format!("CREATE TABLE IF NOT EXISTS {KEYSPACE}.plays (song uuid PRIMARY KEY, plays counter)"),
        format!("CREATE TABLE IF NOT EXISTS {KEYSPACE}.users (name text PRIMARY KEY, operation int)"),
        format!("CREATE TABLE IF NOT EXISTS {KEYSPACE}.accounts (name text PRIMARY KEY, version int, operation int)"),
    ]
}

/// The application's keyspace, or the other one.
#[must_use]
pub const fn keyspace_name(other: bool) -> &'static str {
    if other { "songs_elsewhere" } else { KEYSPACE }
}

/// What gives each of the two keyspaces a table that names it.
#[must_use]
pub fn keyspaces_schema(replication: &str) -> Vec<String> {
    let (own, other) = (keyspace_name(false), keyspace_name(true));
    let mut texts = vec![format!("CREATE KEYSPACE IF NOT EXISTS {other} WITH replication = {replication}")];
    for keyspace in [own, other] {
        texts.push(format!("CREATE TABLE IF NOT EXISTS {keyspace}.whereami (id int PRIMARY KEY, name text)"));
        texts.push(format!("INSERT INTO {keyspace}.whereami (id, name) VALUES (0, '{keyspace}')"));
    }
    texts
}

/// The operation a nonce belongs to; setup calls and probes count from their own start.
#[must_use]
pub fn operation_of(nonce: Nonce) -> u32 {
    u32::try_from(nonce.0 & 0xffff_ffff).unwrap_or(u32::MAX)
}

/// The partition key of a song.
#[must_use]
pub const fn song_id(song: u32) -> Uuid {
    Uuid::from_u128((0x50_u128 << 120) | song as u128)
}

/// The partition key of a playlist.
#[must_use]
pub const fn playlist_id(playlist: u32) -> Uuid {
    Uuid::from_u128((0x70_u128 << 120) | playlist as u128)
}

/// The number in a key made by [`song_id`] or [`playlist_id`].
#[must_use]
pub fn number_of(id: Uuid) -> u32 {
    u32::try_from(id.as_u128() & 0xffff_ffff).unwrap_or(u32::MAX)
}

/// A user's name.
#[must_use]
pub fn user_name(user: u32) -> String {
    format!("user-{user}")
}

/// An account's name.
#[must_use]
pub fn account_name(account: u32) -> String {
    format!("account-{account}")
}

/// The column that an operation adds, which is also what is written into it.
#[must_use]
pub fn note(operation: u32) -> String {
    format!("note_{operation:06}")
}

/// A song's title: padded, so that of two values with equal timestamps all columns choose the same operation.
#[must_use]
pub fn title(song: u32, operation: u32) -> String {
    format!("song {song:06} by operation {operation:06}")
}

/// A song's album.
#[must_use]
pub fn album(operation: u32) -> String {
    format!("album of operation {operation:06}")
}

/// A tag of a song.
#[must_use]
pub fn tag(operation: u32) -> String {
    format!("tag {operation:06}")
}

/// An entry's title.
#[must_use]
pub fn entry_title(playlist: u32, order: i32) -> String {
    format!("playlist {playlist:06} entry {order:06}")
}

/// The numbers in a text, in order: what [`title`], [`album`], [`tag`] and [`entry_title`] put in.
#[must_use]
pub fn numbers_in(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// The clustering keys that an operation appends to a playlist.
#[must_use]
pub fn entry_orders(nonce: Nonce, entries: u32) -> std::ops::Range<i32> {
    let first = i32::try_from(operation_of(nonce)).unwrap_or(0).saturating_mul(100);
    first..first.saturating_add(i32::try_from(entries).unwrap_or(0))
}

/// The playlist that an action lists, static ones by their stored name.
#[must_use]
pub fn playlist_key(action: &Action) -> Option<u32> {
    match action {
        Action::ListPlaylist { playlist, .. } => Some(*playlist),
        Action::ListStatic { playlist, .. } => Some(STATIC_PLAYLISTS + playlist),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_name_their_key_and_operation() {
        assert_eq!(numbers_in(&title(3, 17)), [3, 17]);
        assert_eq!(numbers_in(&album(17)), [17]);
        assert_eq!(numbers_in(&tag(9)), [9]);
        assert_eq!(numbers_in(&entry_title(1_002, 300)), [1_002, 300]);
        assert_eq!(number_of(song_id(12)), 12);
        assert_ne!(song_id(1), playlist_id(1));
    }

    #[test]
    fn later_operations_have_greater_values() {
        assert!(title(3, 9) < title(3, 10));
        assert!(album(99) < album(100));
    }
}
