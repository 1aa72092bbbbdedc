//! I48, the data: what was acknowledged is there at its level, what was refused is not, and reads see both.
//!
//! Plain rows are last-write-wins registers: of two writes the one with the greater timestamp wins, of equal ones either.
//! The timestamps are those that nodes were sent, whatever the clocks of clients showed.
//!
//! While data move to other nodes a copy of each row may rightly be missing: a node that joins reads from those that
//! are there, a machine that died for good takes its copies with it.

use super::{Class, Evidence, Failure};
use crate::app;
use crate::history::{Answer, Call, Nonce};
use crate::plan::Action;
use crate::wire::{Asked, Wire};
use simcluster::fault::Fault;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The timestamp of each call, as the first node saw it.
type Stamps = BTreeMap<Nonce, i64>;

fn stamps(evidence: &Evidence<'_>) -> Stamps {
    let mut stamps = Stamps::new();
    for fact in evidence.wire {
        if let Wire::Request { nonce: Some(nonce), asked: Some(Asked { timestamp: Some(timestamp), .. }), .. } =
            fact.what
        {
            stamps.entry(nonce).or_insert(timestamp);
        }
    }
    stamps
}

/// Whether one write surely loses against another.
fn is_older(stamps: &Stamps, one: &Call, other: &Call) -> bool {
    match (stamps.get(&one.nonce), stamps.get(&other.nonce)) {
        (Some(one), Some(other)) => one < other,
        _ => one.submitted + SUBMISSION_SLACK < other.submitted,
    }
}

/// Calls whose timestamps are not known are ordered by their submission, not closer than this.
const SUBMISSION_SLACK: Duration = Duration::from_millis(1);

/// How many copies of a row may be missing because nodes came and went.
fn copies_moved(evidence: &Evidence<'_>) -> u32 {
    let moves = evidence.plan.faults.iter().filter(|planned| {
        matches!(planned.fault, Fault::Join { .. } | Fault::Decommission { .. } | Fault::Replace { .. })
    });
    u32::try_from(moves.count()).unwrap_or(u32::MAX)
}

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut failures = check_song_reads(evidence);
    failures.extend(check_registrations(evidence));
    if evidence.truth.is_some() {
        failures.extend(check_songs(evidence));
        failures.extend(check_tags(evidence));
        failures.extend(check_entries(evidence));
    }
    failures
}

fn failure(at: Duration, message: String) -> Failure {
    Failure::new("I48", Class::Safety, at, message)
}

fn end(evidence: &Evidence<'_>) -> Duration {
    evidence.wire.last().map_or(Duration::ZERO, |fact| fact.at)
}

/// The writes of each song, by operation.
fn song_writes<'a>(evidence: &Evidence<'a>) -> BTreeMap<u32, BTreeMap<u32, &'a Call>> {
    let mut writes: BTreeMap<u32, BTreeMap<u32, &Call>> = BTreeMap::new();
    for call in evidence.calls {
        if let Action::AddSong { song } = call.action {
            writes.entry(song).or_default().insert(app::operation_of(call.nonce), call);
        }
    }
    writes
}

/// Why a register cannot hold the value of `found`, given its writes and those that must be visible.
fn register_problem<'a>(
    stamps: &Stamps,
    writes: &BTreeMap<u32, &Call>,
    found: Option<u32>,
    mut must_be_visible: impl Iterator<Item = &'a Call>,
) -> Option<String> {
    let written = match found {
        None => None,
        Some(operation) => match writes.get(&operation) {
            None => return Some(format!("operation {operation} never wrote it")),
            Some(call) if !call.may_have_happened() => {
                return Some(format!("operation {operation} was reported as not applied"));
            }
            Some(call) => Some(*call),
        },
    };
    let lost = must_be_visible.find(|acked| written.is_none_or(|written| is_older(stamps, written, acked)))?;
    let found = found.map_or_else(|| "nothing".to_owned(), |operation| format!("the value of operation {operation}"));
    Some(format!("{found} is there although {} was acknowledged later", lost.nonce))
}

fn check_songs(evidence: &Evidence<'_>) -> Vec<Failure> {
    let Some(truth) = evidence.truth else { return Vec::new() };
    let (stamps, moved) = (stamps(evidence), copies_moved(evidence));
    let mut failures = Vec::new();
    for (song, writes) in song_writes(evidence) {
        let needed = |call: &Call| call.level.block_for(&evidence.plan.cluster).saturating_sub(moved);
        let acked = || writes.values().copied().filter(|call| call.is_ok() && needed(call) > 0);
        let found = truth.songs.get(&song).copied();
        if let Some(problem) = register_problem(&stamps, &writes, found, acked()) {
            failures.push(failure(end(evidence), format!("song {song}: {problem}")));
            continue;
        }
        let Some(copies) = truth.song_copies.get(&song) else { continue };
        for call in acked() {
            let needed = needed(call);
            let holders = copies
                .values()
                .filter(|copy| register_problem(&stamps, &writes, **copy, std::iter::once(call)).is_none())
                .count();
            if u32::try_from(holders).unwrap_or(u32::MAX) < needed {
                failures.push(failure(
                    end(evidence),
                    format!(
                        "song {song}: {} was acknowledged at {:?} by {needed} replicas, {holders} have it ({copies:?})",
                        call.nonce, call.level
                    ),
                ));
            }
        }
    }
    failures
}

fn check_song_reads(evidence: &Evidence<'_>) -> Vec<Failure> {
    let (stamps, moved) = (stamps(evidence), copies_moved(evidence));
    let writes = song_writes(evidence);
    let none = BTreeMap::new();
    let mut failures = Vec::new();
    for read in evidence.calls {
        let (Action::ReadSong { song }, Some(Ok(Answer::Song(row)))) = (&read.action, &read.outcome) else { continue };
        let writes = writes.get(song).unwrap_or(&none);
        let visible = writes.values().copied().filter(|write| {
            write.is_ok()
                && moved == 0
                && write.completed_before(read.submitted)
                && write.level.overlaps(read.level, &evidence.plan.cluster)
        });
        let (title, album) = row.as_ref().map_or((None, None), |row| (row.title_of, row.album_of));
        let problem = if title == album {
            register_problem(&stamps, writes, title, visible)
        } else {
            Some(format!("the title is of operation {title:?} and the album of {album:?}"))
        };
        if let Some(problem) = problem {
            failures.push(failure(
                read.completed.unwrap_or(read.submitted),
                format!("{} read song {song}: {problem}", read.nonce),
            ));
        }
    }
    failures
}

fn check_tags(evidence: &Evidence<'_>) -> Vec<Failure> {
    let Some(truth) = evidence.truth else { return Vec::new() };
    let (stamps, moved) = (stamps(evidence), copies_moved(evidence));
    let mut failures = Vec::new();
    for add in evidence.calls {
        let Action::AddTag { song } = add.action else { continue };
        let tag = app::operation_of(add.nonce);
        let present = truth.tags.get(&song).is_some_and(|tags| tags.contains(&tag));
        let removals = || evidence.calls.iter().filter(|call| call.action == Action::RemoveTag { song, of: tag });
        let removed = removals().any(|call| call.is_ok() && is_older(&stamps, add, call));
        let maybe_removed = removals().any(Call::may_have_happened);
        let problem = if present && !add.may_have_happened() {
            "is there although adding it was reported as not applied"
        } else if present && removed {
            "is there although its removal was acknowledged later"
        } else if !present && add.is_ok() && !maybe_removed && add.level.block_for(&evidence.plan.cluster) > moved {
            "is missing although it was acknowledged and nobody removed it"
        } else {
            continue;
        };
        failures.push(failure(end(evidence), format!("tag {tag} of song {song} {problem}")));
    }
    failures
}

fn check_entries(evidence: &Evidence<'_>) -> Vec<Failure> {
    let Some(truth) = evidence.truth else { return Vec::new() };
    let mut failures = Vec::new();
    let moved = copies_moved(evidence);
    let mut possible: BTreeMap<u32, BTreeSet<i32>> = BTreeMap::new();
    for append in evidence.calls {
        let Action::AppendToPlaylist { playlist, entries } = append.action else { continue };
        let there = truth.entries.get(&playlist);
        let mut orders = app::entry_orders(append.nonce, entries);
        if append.may_have_happened() {
            possible.entry(playlist).or_default().extend(orders.clone());
        }
        if append.is_ok()
            && append.level.block_for(&evidence.plan.cluster) > moved
            && let Some(lost) = orders.find(|order| there.is_none_or(|there| !there.contains(order)))
        {
            failures.push(failure(
                end(evidence),
                format!("entry {lost} of playlist {playlist} is lost, {} was acknowledged", append.nonce),
            ));
        }
    }
    for (playlist, there) in truth.entries.iter().filter(|(playlist, _)| **playlist < app::STATIC_PLAYLISTS) {
        let none = BTreeSet::new();
        if let Some(invented) = there.difference(possible.get(playlist).unwrap_or(&none)).next() {
            failures.push(failure(
                end(evidence),
                format!("entry {invented} of playlist {playlist} is there, its write was reported as not applied"),
            ));
        }
    }
    failures
}

/// A name is registered by one operation at most, and stays its own.
fn check_registrations(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut winners: BTreeMap<u32, Vec<&Call>> = BTreeMap::new();
    for call in evidence.calls {
        if let (Action::Register { user }, Some(Ok(Answer::Registered { applied: true, .. }))) =
            (&call.action, &call.outcome)
        {
            winners.entry(*user).or_default().push(call);
        }
    }
    for (user, winners) in &winners {
        if let [first, second, ..] = winners[..] {
            failures.push(failure(
                second.completed.unwrap_or(second.submitted),
                format!("{} and {} both registered user {user}", first.nonce, second.nonce),
            ));
        }
    }
    let attempts = |user: u32, operation: u32| {
        evidence
            .calls
            .iter()
            .find(|call| call.action == Action::Register { user } && app::operation_of(call.nonce) == operation)
    };
    let mut owners: Vec<(Duration, u32, u32)> = evidence
        .calls
        .iter()
        .filter_map(|call| match (&call.action, &call.outcome) {
            (Action::Register { user }, Some(Ok(Answer::Registered { applied: false, owner: Some(owner) }))) => {
                Some((call.completed?, *user, *owner))
            }
            _ => None,
        })
        .collect();
    if let Some(truth) = evidence.truth {
        owners.extend(truth.users.iter().map(|(user, owner)| (end(evidence), *user, *owner)));
        for (user, winners) in &winners {
            if !truth.users.contains_key(user) {
                failures
                    .push(failure(end(evidence), format!("user {user} is lost, {} registered it", winners[0].nonce)));
            }
        }
    }
    for (at, user, owner) in owners {
        let winner = winners.get(&user).map(|winners| app::operation_of(winners[0].nonce));
        let problem = match attempts(user, owner) {
            None => "never tried",
            // "Not applied" with its own name as owner: its proposal was finished on behalf of it.
            Some(call) if matches!(&call.outcome, Some(Err(_))) && !call.may_have_happened() => {
                "was reported as not applied"
            }
            Some(_) if winner.is_some_and(|winner| winner != owner) => "is not the one that registered it",
            Some(_) => continue,
        };
        failures.push(failure(at, format!("user {user} belongs to operation {owner}, which {problem}")));
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, failed, run};
    use super::*;
    use crate::history::{Certainty, Failed, SongRead};
    use crate::truth::Truth;

    fn add(operation: u64, from: u64, to: u64, outcome: Result<Answer, Failed>) -> Call {
        call(operation, Action::AddSong { song: 1 }, from, to, outcome)
    }

    fn truth(copies: [Option<u32>; 3]) -> Truth {
        Truth {
            songs: copies.iter().flatten().max().map(|operation| (1, *operation)).into_iter().collect(),
            song_copies: BTreeMap::from([(1, (0..).zip(copies).collect())]),
            ..Truth::default()
        }
    }

    #[test]
    fn an_acknowledged_write_is_on_as_many_replicas_as_its_level_says() {
        let calls = [add(5, 0, 10, Ok(Answer::Written))];
        assert!(run(check, &calls, &[], Some(&truth([Some(5), Some(5), None]))).is_empty());
        assert_eq!(run(check, &calls, &[], Some(&truth([Some(5), None, None]))), ["I48"]);
        assert_eq!(run(check, &calls, &[], Some(&truth([None, None, None]))), ["I48"]);
    }

    #[test]
    fn later_writes_replace_earlier_ones_and_never_the_other_way() {
        let calls = [add(5, 0, 10, Ok(Answer::Written)), add(6, 20, 30, Ok(Answer::Written))];
        assert!(run(check, &calls, &[], Some(&truth([Some(6), Some(6), Some(5)]))).is_empty());
        assert_eq!(run(check, &calls, &[], Some(&truth([Some(5), Some(5), Some(5)]))), ["I48"]);
    }

    #[test]
    fn refused_writes_are_absent_and_uncertain_ones_may_be_either() {
        for certainty in [Certainty::NotSent, Certainty::Rejected] {
            let calls = [add(5, 0, 10, Err(failed(certainty, "Unavailable")))];
            assert_eq!(run(check, &calls, &[], Some(&truth([Some(5), None, None]))), ["I48"], "{certainty:?}");
        }
        let calls = [add(5, 0, 10, Err(failed(Certainty::MaybeApplied, "WriteTimeout")))];
        assert!(run(check, &calls, &[], Some(&truth([Some(5), None, None]))).is_empty());
        assert!(run(check, &calls, &[], Some(&truth([None, None, None]))).is_empty());
    }

    #[test]
    fn reads_see_what_was_acknowledged_before_them() {
        let read = |operation: Option<u32>| {
            let row = operation.map(|operation| SongRead {
                song: Some(1),
                title_of: Some(operation),
                album_of: Some(operation),
                tags: Vec::new(),
            });
            call(9, Action::ReadSong { song: 1 }, 50, 60, Ok(Answer::Song(row)))
        };
        let calls =
            |operation| vec![add(5, 0, 10, Ok(Answer::Written)), add(6, 20, 30, Ok(Answer::Written)), read(operation)];
        assert!(run(check, &calls(Some(6)), &[], None).is_empty());
        assert_eq!(run(check, &calls(Some(5)), &[], None), ["I48"], "stale");
        assert_eq!(run(check, &calls(None), &[], None), ["I48"], "lost");
        assert_eq!(run(check, &calls(Some(7)), &[], None), ["I48"], "invented");
    }

    #[test]
    fn acknowledged_entries_are_there() {
        let calls = [call(3, Action::AppendToPlaylist { playlist: 1, entries: 2 }, 0, 9, Ok(Answer::Written))];
        let with = |orders: &[i32]| Truth {
            entries: BTreeMap::from([(1, orders.iter().copied().collect())]),
            ..Truth::default()
        };
        assert!(run(check, &calls, &[], Some(&with(&[300, 301]))).is_empty());
        assert_eq!(run(check, &calls, &[], Some(&with(&[300]))), ["I48"]);
        assert_eq!(run(check, &calls, &[], Some(&with(&[300, 301, 400]))), ["I48"], "invented");
    }

    #[test]
    fn tags_follow_additions_and_removals() {
        let add = |outcome| call(3, Action::AddTag { song: 1 }, 0, 9, outcome);
        let remove = |outcome| call(4, Action::RemoveTag { song: 1, of: 3 }, 20, 29, outcome);
        let with =
            |tags: &[u32]| Truth { tags: BTreeMap::from([(1, tags.iter().copied().collect())]), ..Truth::default() };
        let acked = || Ok(Answer::Written);
        let maybe = || Err(failed(Certainty::MaybeApplied, "Timeout"));
        assert!(run(check, &[add(acked())], &[], Some(&with(&[3]))).is_empty());
        assert_eq!(run(check, &[add(acked())], &[], Some(&with(&[]))), ["I48"]);
        assert!(run(check, &[add(acked()), remove(acked())], &[], Some(&with(&[]))).is_empty());
        assert_eq!(run(check, &[add(acked()), remove(acked())], &[], Some(&with(&[3]))), ["I48"]);
        for tags in [&[3_u32][..], &[]] {
            assert!(run(check, &[add(acked()), remove(maybe())], &[], Some(&with(tags))).is_empty());
        }
    }

    #[test]
    fn a_name_has_one_winner() {
        let register = |operation, applied, owner| {
            call(operation, Action::Register { user: 1 }, 0, 9, Ok(Answer::Registered { applied, owner }))
        };
        let truth = Truth { users: BTreeMap::from([(1, 3)]), ..Truth::default() };
        let good = [register(3, true, None), register(4, false, Some(3))];
        assert!(run(check, &good, &[], Some(&truth)).is_empty());
        assert_eq!(run(check, &[register(3, true, None), register(4, true, None)], &[], Some(&truth)), ["I48"]);
        assert_eq!(run(check, &[register(3, true, None), register(4, false, Some(4))], &[], Some(&truth)), ["I48"]);
        assert_eq!(run(check, &[register(3, true, None)], &[], Some(&Truth::default())), ["I48"], "lost");
    }
}
