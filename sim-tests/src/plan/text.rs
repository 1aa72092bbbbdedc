//! Plans as TOML files: settings as tables, operations and faults as one-line inline tables.
//!
//! One line per operation and fault keeps a plan readable, and deleting a line is all that a person needs to do to try
//! a smaller one.

use super::{Action, Plan};
use serde::Serialize;
use simcluster::fault::Fault;
use std::collections::BTreeSet;
use std::fmt;

/// What is wrong with a plan file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// From 1; `None` if the mistake has no single place.
    pub line: Option<usize>,
    /// What is wrong, in one sentence.
    pub reason: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for PlanError {}

/// Reads and checks a plan.
pub(super) fn parse(text: &str) -> Result<Plan, PlanError> {
    let mut plan: Plan = toml::from_str(text).map_err(|error| PlanError {
        line: error.span().map(|span| line_of(text, span.start)),
        reason: error.message().trim().replace('\n', ", "),
    })?;
    check(&plan).map_err(|(key, reason)| PlanError { line: key.and_then(|key| find(text, &key)), reason })?;
    plan.sort();
    Ok(plan)
}

/// The text of a plan.
pub(super) fn print(plan: &Plan) -> String {
    let mut head = plan.clone();
    head.operations.clear();
    head.faults.clear();
    // Empty lists are printed by the line-per-item code below, in the same place; they must precede the first table.
    let head = toml::to_string(&head).unwrap_or_default();
    let (scalars, tables) = head.split_at(head.find("\n[").map_or(head.len(), |at| at + 1));
    let scalars: String = scalars
        .lines()
        .filter(|line| !line.starts_with("operations") && !line.starts_with("faults"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut text = scalars.trim_end().to_owned();
    text.push('\n');
    print_list(&mut text, "operations", &plan.operations);
    print_list(&mut text, "faults", &plan.faults);
    text.push('\n');
    text.push_str(tables.trim_start());
    text
}

fn print_list<T: Serialize>(text: &mut String, name: &str, items: &[T]) {
    text.push_str(name);
    text.push_str(" = [");
    for item in items {
        let mut line = String::new();
        if item.serialize(toml::ser::ValueSerializer::new(&mut line)).is_ok() {
            text.push_str("\n  ");
            text.push_str(&line);
            text.push(',');
        }
    }
    text.push_str(if items.is_empty() { "]\n" } else { "\n]\n" });
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The line of the first occurrence of `needle`.
fn find(text: &str, needle: &str) -> Option<usize> {
    text.find(needle).map(|offset| line_of(text, offset))
}

/// Checks what types cannot say. The first part of an error is a text near the mistake.
fn check(plan: &Plan) -> Result<(), (Option<String>, String)> {
    let fail = |key: &str, reason: String| Err((Some(key.to_owned()), reason));
    if plan.clients == 0 {
        return fail("clients", "clients must be at least 1".to_owned());
    }
    let nodes = plan.nodes();
    if plan.cluster.datacenters.is_empty() || plan.cluster.datacenters.contains(&0) || nodes > NODES_MAX {
        return fail("datacenters", format!("datacenters must be a list of node counts, 1 to {NODES_MAX} in all"));
    }
    if plan.cluster.vnodes == 0 || plan.cluster.replication_factor == 0 {
        return fail("vnodes", "vnodes and replication_factor must be at least 1".to_owned());
    }
    if plan.cluster.latency_min_us > plan.cluster.latency_max_us {
        return fail("latency_min_us", "latency_min_us must not exceed latency_max_us".to_owned());
    }
    if !(3..=5).contains(&plan.cluster.protocol_version_max) {
        return fail("protocol_version_max", "protocol_version_max must be 3, 4 or 5".to_owned());
    }
    if plan.driver.request_timeout_ms == 0 || plan.driver.connect_timeout_ms == 0 || plan.phases.close_ms == 0 {
        return fail("request_timeout_ms", "timeouts must be at least 1 ms".to_owned());
    }
    if plan.phases.safety_ms > SAFETY_MS_MAX {
        return fail("safety_ms", format!("safety_ms must not exceed {SAFETY_MS_MAX}"));
    }
    let mut ids = BTreeSet::new();
    for operation in &plan.operations {
        let place = format!("id = {},", operation.id);
        if !ids.insert(operation.id) {
            return fail(&place, format!("there are two operations with id {}", operation.id));
        }
        if operation.client >= plan.clients {
            return fail(
                &place,
                format!("operation {} names client {} of {}", operation.id, operation.client, plan.clients),
            );
        }
        match operation.action {
            Action::ListStatic { playlist, .. } if playlist >= plan.workload.static_playlists => {
                return fail(&place, format!("operation {} lists a static playlist that is not filled", operation.id));
            }
            Action::ListStatic { page_size, .. } | Action::ListPlaylist { page_size, .. } if page_size < 1 => {
                return fail(&place, format!("operation {} has no rows per page", operation.id));
            }
            Action::AppendToPlaylist { entries, .. } if !(1..=ENTRIES_MAX).contains(&entries) => {
                return fail(&place, format!("operation {} must append 1 to {ENTRIES_MAX} entries", operation.id));
            }
            _ => {}
        }
    }
    let mut ids = BTreeSet::new();
    for fault in &plan.faults {
        let place = format!("id = {},", fault.id);
        if !ids.insert(fault.id) {
            return fail(&place, format!("there are two faults with id {}", fault.id));
        }
        if let Fault::Join { node, .. } | Fault::Replace { with: node, .. } = &fault.fault
            && !(nodes + 1..=nodes + NEWCOMERS_MAX).contains(&node.0)
        {
            let reason =
                format!("fault {}: new nodes are numbered {} to {}", fault.id, nodes + 1, nodes + NEWCOMERS_MAX);
            return fail(&place, reason);
        }
        let highest = plan.highest_node();
        if let Some(node) = fault.nodes().into_iter().find(|node| !(1..=highest).contains(node)) {
            return fail(&place, format!("fault {} names node {node}, nodes are numbered 1 to {nodes}", fault.id));
        }
    }
    Ok(())
}

/// More would take minutes per run.
const NEWCOMERS_MAX: u32 = 50;

/// As above.
const NODES_MAX: u32 = 300;

/// One day: more would take minutes per run.
const SAFETY_MS_MAX: u64 = 24 * 3_600_000;

/// Entries are numbered within their operation's hundred.
pub(crate) const ENTRIES_MAX: u32 = 99;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Profile, Seed};

    fn sample(bits: u64) -> Plan {
        Plan::generate(Seed::new(Profile::Chaos, bits)).expect("supported profile")
    }

    #[test]
    fn printed_plans_parse_to_themselves() {
        for bits in 0..50 {
            let plan = sample(bits);
            let text = plan.to_toml();
            let parsed = Plan::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(parsed, plan, "{text}");
            assert_eq!(parsed.to_toml(), text);
        }
    }

    #[test]
    fn syntax_errors_name_their_line() {
        let text = sample(1).to_toml().replacen("[cluster]", "[cluster", 1);
        let line = 1 + text.lines().position(|line| line == "[cluster").expect("the edited line");
        let error = Plan::parse(&text).expect_err("broken syntax");
        assert_eq!(error.line, Some(line), "{error}");
    }

    #[test]
    fn misspelled_keys_are_refused() {
        for (good, bad) in [
            ("vnodes =", "vnode ="),
            ("clients =", "client_count ="),
            ("level = ", "levle = "),
            ("song = ", "sonng = "),
            ("at_ms = ", "at_msec = "),
        ] {
            let text = sample(1).to_toml();
            let edited = text.replacen(good, bad, 1);
            assert_ne!(text, edited, "{good} does not occur");
            let error = Plan::parse(&edited).expect_err(bad);
            assert!(error.line.is_some(), "{bad}: {error}");
        }
    }

    #[test]
    fn references_to_nothing_are_refused_with_their_line() {
        let mut plan = sample(1);
        plan.operations[0].client = 99;
        let text = plan.to_toml();
        let error = Plan::parse(&text).expect_err("client 99 does not exist");
        assert!(error.reason.contains("client 99"), "{error}");
        let line = text.lines().nth(error.line.expect("a line") - 1).expect("inside the text");
        assert!(line.contains("client = 99"), "{line}");
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (key, value) in [("clients", "0"), ("vnodes", "0"), ("protocol_version_max", "9"), ("datacenters", "[]")] {
            let text = sample(1).to_toml();
            let edited: String = text
                .lines()
                .map(|line| {
                    if line.starts_with(&format!("{key} =")) {
                        format!("{key} = {value}\n")
                    } else {
                        format!("{line}\n")
                    }
                })
                .collect();
            assert_ne!(text, edited, "{key}");
            assert!(Plan::parse(&edited).is_err(), "{key} = {value}");
        }
    }
}
