//! Changing tables: I35 what "agreed" promises, I37 rows are read with the columns they were written with.

use super::{Class, Evidence, Failure};
use crate::app;
use crate::history::Answer;
use crate::plan::Action;

/// I35: after a schema change on which all agree, the session that made it knows it.
///
/// Only where nothing hinders the session from reading it: a refresh that fails leaves it for later.
pub(super) fn check_agreement(evidence: &Evidence<'_>) -> Vec<Failure> {
    if !evidence.plan.faults.is_empty() {
        return Vec::new();
    }
    let mut failures = Vec::new();
    for call in evidence.calls {
        if let Some(Ok(Answer::Changed { agreed, knows })) = &call.outcome
            && *agreed
            && !*knows
        {
            let at = call.completed.unwrap_or(call.submitted);
            let text = format!("{} created a table on which all agree, and its session does not know it", call.nonce);
            failures.push(Failure::new("I35", Class::Safety, at, text));
        }
    }
    failures
}

/// I37: every text says in which column it belongs, whatever columns came and went meanwhile.
pub(super) fn check_decoding(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for call in evidence.calls {
        let (Action::ReadAll { song }, Some(Ok(Answer::All(texts)))) = (&call.action, &call.outcome) else { continue };
        for (column, text) in texts {
            let belongs = match column.as_str() {
                "title" => app::numbers_in(text).first() == Some(song) && text.starts_with("song "),
                "album" => text.starts_with("album of operation "),
                "artist" => *text == format!("artist {song}"),
                note => text == note,
            };
            if !belongs {
                let at = call.completed.unwrap_or(call.submitted);
                let text = format!("{} read {text:?} in column {column} of song {song}", call.nonce);
                failures.push(Failure::new("I37", Class::Safety, at, text));
            }
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, run};
    use super::*;

    #[test]
    fn a_session_knows_what_it_has_created_once_all_agree() {
        let created = |agreed, knows| call(1, Action::CreateTable, 0, 9, Ok(Answer::Changed { agreed, knows }));
        assert!(run(check_agreement, &[created(true, true)], &[], None).is_empty());
        assert_eq!(run(check_agreement, &[created(true, false)], &[], None), ["I35"]);
        assert!(run(check_agreement, &[created(false, false)], &[], None).is_empty());
    }

    #[test]
    fn a_text_in_a_foreign_column_fails() {
        let read = |column: &str, text: &str| {
            let texts = vec![(column.to_owned(), text.to_owned())];
            call(1, Action::ReadAll { song: 3 }, 0, 9, Ok(Answer::All(texts)))
        };
        assert!(run(check_decoding, &[read("title", &app::title(3, 7))], &[], None).is_empty());
        assert!(run(check_decoding, &[read("note_000004", "note_000004")], &[], None).is_empty());
        assert_eq!(run(check_decoding, &[read("note_000004", "note_000005")], &[], None), ["I37"]);
        assert_eq!(run(check_decoding, &[read("artist", &app::title(3, 7))], &[], None), ["I37"]);
    }
}
