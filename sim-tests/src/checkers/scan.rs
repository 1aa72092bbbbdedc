//! I39: the pages of a scan, concatenated, are the rows of the partition: in order, each once, none missing.

use super::{Class, Evidence, Failure};
use crate::app;
use crate::history::{Answer, Call, EntryRead};
use crate::plan::Action;
use std::collections::BTreeSet;

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    let lists = evidence.calls.iter().filter_map(|call| {
        let Some(Ok(Answer::Entries(entries))) = &call.outcome else { return None };
        let problem = check_order(entries).or_else(|| match call.action {
            Action::ListStatic { .. } => check_static(evidence, entries),
            Action::ListPlaylist { playlist, .. } => check_growing(evidence, call, playlist, entries),
            _ => None,
        })?;
        Some(Failure::new(
            "I39",
            Class::Safety,
            call.completed.unwrap_or(call.submitted),
            format!("{} ({:?}, pages of {:?} rows): {problem}", call.nonce, call.action, call.pages),
        ))
    });
    lists.collect()
}

fn check_order(entries: &[EntryRead]) -> Option<String> {
    let (before, after) = entries.iter().zip(entries.iter().skip(1)).find(|(a, b)| a.order >= b.order)?;
    Some(format!("entry {} came after entry {}", after.order, before.order))
}

fn check_static(evidence: &Evidence<'_>, entries: &[EntryRead]) -> Option<String> {
    let expected = evidence.plan.workload.static_entries as usize;
    let exact = entries.iter().enumerate().all(|(index, entry)| i32::try_from(index) == Ok(entry.order));
    (entries.len() != expected || !exact).then(|| format!("{} entries arrived, {expected} exist", entries.len()))
}

/// A playlist that grows meanwhile: every entry acknowledged before is there, and nothing that nobody wrote.
fn check_growing(evidence: &Evidence<'_>, list: &Call, playlist: u32, entries: &[EntryRead]) -> Option<String> {
    let seen: BTreeSet<i32> = entries.iter().map(|entry| entry.order).collect();
    let mut possible = BTreeSet::new();
    for append in evidence.calls {
        let Action::AppendToPlaylist { playlist: target, entries } = append.action else { continue };
        if target != playlist {
            continue;
        }
        let orders = app::entry_orders(append.nonce, entries);
        let must_be_seen = append.is_ok()
            && append.completed_before(list.submitted)
            && append.level.overlaps(list.level, &evidence.plan.cluster);
        if must_be_seen && let Some(missing) = orders.clone().find(|order| !seen.contains(order)) {
            return Some(format!("entry {missing} is missing, {} had been acknowledged before", append.nonce));
        }
        if append.may_have_happened() && list.completed.is_some_and(|end| append.submitted <= end) {
            possible.extend(orders);
        }
    }
    let invented = seen.difference(&possible).next()?;
    Some(format!("entry {invented} was written by nobody"))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, failed, plan, run};
    use super::*;
    use crate::history::Certainty;

    fn entries(playlist: u32, orders: impl IntoIterator<Item = i32>) -> Result<Answer, crate::history::Failed> {
        Ok(Answer::Entries(orders.into_iter().map(|order| EntryRead { order, playlist, named: order }).collect()))
    }

    #[test]
    fn static_playlists_must_be_exact() {
        let len = i32::try_from(plan().workload.static_entries).expect("small");
        assert!(len > 1, "the sample plan has static entries");
        let list =
            |orders: Vec<i32>| call(9, Action::ListStatic { playlist: 0, page_size: 2 }, 0, 9, entries(0, orders));
        assert!(run(check, &[list((0..len).collect())], &[], None).is_empty());
        assert_eq!(run(check, &[list((0..len - 1).collect())], &[], None), ["I39"], "the last is missing");
        assert_eq!(run(check, &[list((1..len).collect())], &[], None), ["I39"], "the first is missing");
        assert_eq!(run(check, &[list((0..len).chain([len - 1]).collect())], &[], None), ["I39"], "one is repeated");
    }

    #[test]
    fn growing_playlists_show_what_was_acknowledged_and_nothing_invented() {
        let append = |outcome| call(3, Action::AppendToPlaylist { playlist: 1, entries: 2 }, 0, 9, outcome);
        let list =
            |orders: Vec<i32>| call(9, Action::ListPlaylist { playlist: 1, page_size: 2 }, 20, 30, entries(1, orders));
        let acked = || append(Ok(Answer::Written));
        assert!(run(check, &[acked(), list(vec![300, 301])], &[], None).is_empty());
        assert_eq!(run(check, &[acked(), list(vec![300])], &[], None), ["I39"]);
        assert_eq!(run(check, &[acked(), list(vec![300, 301, 302])], &[], None), ["I39"]);
        let maybe = || append(Err(failed(Certainty::MaybeApplied, "Timeout")));
        assert!(run(check, &[maybe(), list(vec![300])], &[], None).is_empty());
        let refused = || append(Err(failed(Certainty::Rejected, "Unavailable")));
        assert_eq!(run(check, &[refused(), list(vec![300])], &[], None), ["I39"]);
    }
}
