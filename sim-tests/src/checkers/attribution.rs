//! I1: an answer belongs to its question.
//!
//! The cluster mirrors the nonce of each request's custom payload, so a response delivered to the wrong caller shows a
//! foreign nonce. Where the protocol has no payloads (v3) the content must still belong to the key that was asked for.

use super::{Class, Evidence, Failure};
use crate::history::{Answer, Call};
use crate::plan::Action;

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    evidence.calls.iter().filter_map(check_call).collect()
}

fn check_call(call: &Call) -> Option<Failure> {
    let fail = |message| Some(Failure::new("I1", Class::Safety, call.completed.unwrap_or(call.submitted), message));
    if let Some(foreign) = call.mirrored.iter().flatten().find(|mirrored| **mirrored != call.nonce) {
        return fail(format!("{} received the answer to {foreign}", call.nonce));
    }
    let Some(Ok(answer)) = &call.outcome else { return None };
    match (&call.action, answer) {
        (Action::ReadSong { song }, Answer::Song(Some(read))) if read.song.is_some_and(|read| read != *song) => {
            fail(format!("{} asked for song {song} and received song {:?}", call.nonce, read.song))
        }
        (Action::ListPlaylist { .. } | Action::ListStatic { .. }, Answer::Entries(entries)) => {
            let asked = crate::app::playlist_key(&call.action)?;
            let foreign = entries.iter().find(|entry| entry.playlist != asked || entry.named != entry.order)?;
            fail(format!("{} asked for playlist {asked} and received {foreign:?}", call.nonce))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, run};
    use super::*;
    use crate::history::{EntryRead, Nonce, SongRead};

    #[test]
    fn own_nonce_passes_and_a_foreign_one_fails() {
        let mut own = call(7, Action::Play { song: 1 }, 0, 5, Ok(Answer::Written));
        own.mirrored = vec![Some(Nonce(7)), None];
        assert!(run(check, std::slice::from_ref(&own), &[], None).is_empty());
        own.mirrored.push(Some(Nonce(8)));
        assert_eq!(run(check, &[own], &[], None), ["I1"]);
    }

    #[test]
    fn content_of_another_key_fails() {
        let read = |song| SongRead { song: Some(song), title_of: Some(1), album_of: Some(1), tags: Vec::new() };
        let good = call(1, Action::ReadSong { song: 4 }, 0, 5, Ok(Answer::Song(Some(read(4)))));
        let bad = call(2, Action::ReadSong { song: 4 }, 0, 5, Ok(Answer::Song(Some(read(5)))));
        assert!(run(check, &[good], &[], None).is_empty());
        assert_eq!(run(check, &[bad], &[], None), ["I1"]);

        let entry = |playlist| Ok(Answer::Entries(vec![EntryRead { order: 100, playlist, named: 100 }]));
        let good = call(1, Action::ListPlaylist { playlist: 2, page_size: 3 }, 0, 5, entry(2));
        let bad = call(2, Action::ListPlaylist { playlist: 2, page_size: 3 }, 0, 5, entry(3));
        assert!(run(check, &[good], &[], None).is_empty());
        assert_eq!(run(check, &[bad], &[], None), ["I1"]);
    }
}
