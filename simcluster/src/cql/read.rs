//! A SELECT in progress: asks for reads one after the other, then makes a page of them.
//!
//! Replicas limit rows before anything is filtered, merged or grouped; so after every answer this decides whether
//! the page is complete or another read has to continue where the answer ended.

use super::expr::Env;
use super::paging::PagingState;
use super::parser::not_modelled;
use super::relations::Plan;
use super::row::RowView;
use super::select::SelectPlan;
use super::{BindOptions, Bound};
use crate::protocol::{ResultRows, ServerError};
use crate::schema::Schema;
use crate::storage::{Partition, PartitionKey, Position, ReadAnswer, ReadCommand, ReadTarget, Row};
use crate::types::{Value, codec, order};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// How many rows an aggregate reads at once.
const AGGREGATE_CHUNK: usize = 10_000;

/// A SELECT in progress: asks for reads one after the other, then makes a page of them.
#[derive(Debug)]
pub struct ReadExecution {
    /// Server warnings so far.
    pub warnings: Vec<String>,
    plan: Arc<SelectPlan>,
    tests: Vec<super::relations::Test>,
    has_slices: bool,
    values: Vec<Bound>,
    options: Box<BindOptions>,
    queue: VecDeque<ReadCommand>,
    current: Option<ReadCommand>,
    /// Rows the LIMIT still allows.
    remaining: u32,
    /// Rows this page still has room for.
    room: u32,
    partition_limit: u32,
    /// Whether rows of several partitions are sorted once all are there.
    sorts: bool,
    /// LIMIT as the statement has it.
    limit: u32,
    /// The partition of the last row, and how many rows of it were answered.
    last_key: Option<PartitionKey>,
    in_partition: u32,
    groups: Vec<Group>,
    next_page: Option<PagingState>,
    /// Behind the last row of the last group that has room, for groups.
    group_end: Option<PagingState>,
    /// Whether a row was seen that begins the next page.
    page_ended: bool,
    /// Whether the last partition that was named has no row left for any page.
    has_all_of_partition: bool,
    /// Whether the last partition answered the row of its static columns and has no other.
    statics_alone: bool,
}

/// Rows that become one row of the answer.
#[derive(Debug)]
struct Group {
    /// The key columns that make the group.
    key: Vec<Value>,
    /// For ORDER BY over several partitions.
    sort_key: Bytes,
    rows: Vec<Vec<Value>>,
}

impl ReadExecution {
    pub(super) fn new(
        plan: Arc<SelectPlan>,
        wanted: Plan,
        values: Vec<Bound>,
        options: &BindOptions,
        limit: Option<u32>,
        partition_limit: Option<u32>,
    ) -> Result<Self, ServerError> {
        let table = &plan.table;
        let state = options.paging_state.as_ref().map(PagingState::decode).transpose()?;
        let is_whole = plan.is_aggregate && (plan.group_len.is_none() || plan.is_distinct);
        let page = if is_whole { None } else { options.page_size.filter(|size| *size > 0) };
        let remaining = state.as_ref().map_or(limit.unwrap_or(u32::MAX), |s| s.remaining);
        let command = |target| ReadCommand {
            slices: wanted.slices.clone(),
            reversed: plan.reversed,
            ..ReadCommand::new(table.id, &table.keyspace, target, usize::MAX)
        };
        let mut queue: VecDeque<ReadCommand> = match &wanted.partitions {
            Some(keys) => keys
                .iter()
                .filter_map(|key| codec::join_partition_key(key))
                .map(|key| command(ReadTarget::Partition(key)))
                .collect(),
            None => wanted.range.map(|range| command(ReadTarget::Range(range))).into_iter().collect(),
        };
        if wanted.slices.as_ref().is_some_and(Vec::is_empty) {
            queue.clear();
        }
        if plan.group_len.is_some() && table.clustering_len == 0 && !plan.is_distinct {
            check_groups_of_partitions(&queue, page.is_some(), state.is_some())?;
        }
        if let Some(state) = &state {
            let is_done = |command: &ReadCommand| match &command.target {
                ReadTarget::Partition(key) => *key != state.position.key,
                ReadTarget::Range(_) => false,
            };
            while queue.front().is_some_and(is_done) {
                queue.pop_front();
            }
            match queue.front_mut() {
                Some(command) => command.after = Some(state.position.clone()),
                None => return Err(ServerError::Protocol("Invalid value for the paging state".to_owned())),
            }
        }
        let sorts = !plan.order_by.is_empty() && queue.len() > 1;
        Ok(Self {
            sorts,
            limit: limit.unwrap_or(u32::MAX),
            warnings: plan.warnings.clone(),
            tests: wanted.tests,
            has_slices: wanted.slices.is_some(),
            values,
            options: Box::new(options.clone()),
            queue,
            current: None,
            remaining,
            room: page.unwrap_or(u32::MAX),
            partition_limit: if plan.is_distinct { 1 } else { partition_limit.unwrap_or(u32::MAX) },
            last_key: state.as_ref().map(|s| s.position.key.clone()),
            in_partition: state.as_ref().map_or(0, |s| s.in_partition),
            groups: Vec::new(),
            next_page: None,
            group_end: None,
            page_ended: false,
            has_all_of_partition: false,
            statics_alone: false,
            plan,
        })
    }

    /// The next thing to read; `None` if the page is complete.
    pub fn next_command(&mut self) -> Option<ReadCommand> {
        if self.is_full() {
            self.queue.clear();
            return None;
        }
        let mut command = self.queue.pop_front()?;
        command.row_limit = if self.plan.is_aggregate {
            AGGREGATE_CHUNK
        } else if self.sorts {
            usize::MAX
        } else {
            usize::try_from(self.room.min(self.remaining)).unwrap_or(usize::MAX)
        };
        if command.row_limit == u32::MAX as usize {
            command.row_limit = usize::MAX;
        }
        self.current = Some(command.clone());
        Some(command)
    }

    /// Commands that were not taken yet.
    pub fn commands_left(&self) -> usize {
        self.queue.len()
    }

    /// Whether ranges of the ring are read, not partitions by their keys.
    pub fn is_scan(&self) -> bool {
        self.queue.iter().any(|command| !matches!(command.target, ReadTarget::Partition(_)))
    }

    /// Takes the merged answer to the last command.
    pub fn push_answer(&mut self, _schema: &Schema, answer: ReadAnswer) {
        let Some(command) = self.current.take() else { return };
        let plan = self.plan.clone();
        let truncated_at = answer.truncated_at;
        for (key, partition) in &answer.partitions {
            let unfinished = truncated_at.as_ref().is_some_and(|p| p.key == *key && p.clustering.is_some());
            self.push_partition(&plan, &command, key, partition, unfinished);
            if self.is_full() {
                break;
            }
        }
        let is_one_partition = matches!(command.target, ReadTarget::Partition(_)) && self.queue.is_empty();
        self.has_all_of_partition =
            is_one_partition && (self.statics_alone || self.in_partition >= self.rows_of_partition_max());
        if self.is_full() {
            if self.plan.is_aggregate {
                self.next_page = self.group_end.clone().filter(|state| state.remaining > 0);
                self.queue.clear();
                return;
            }
            // With LIMIT reached nothing follows; with the page full something may.
            let more = truncated_at.is_some() || !self.queue.is_empty() || self.has_rows_left(&answer.partitions);
            if self.remaining == 0 || self.has_all_of_partition || !more {
                self.next_page = None;
            }
            self.queue.clear();
            return;
        }
        self.next_page = None;
        if let Some(end) = truncated_at {
            // A partition of which no more rows are wanted is left behind as a whole.
            let skip = self.last_key.as_ref() == Some(&end.key) && self.in_partition >= self.partition_limit;
            let position = if skip { Position { clustering: None, ..end } } else { end };
            let done = matches!(command.target, ReadTarget::Partition(_)) && position.clustering.is_none();
            if !done {
                self.queue.push_front(ReadCommand { after: Some(position), ..command });
            }
        }
    }

    /// The page.
    ///
    /// # Errors
    ///
    /// What only the data can show, such as a cast that has no result.
    pub fn finish(mut self) -> Result<ResultRows, ServerError> {
        let plan = self.plan.clone();
        let env = Env::new(&self.values, &self.options);
        if plan.is_aggregate && self.groups.is_empty() && plan.group_len.is_none() {
            self.groups.push(Group { key: Vec::new(), sort_key: Bytes::new(), rows: Vec::new() });
        }
        if self.sorts {
            // Stable: rows that ORDER BY does not tell apart stay in the order of their partitions.
            self.groups.sort_by(|a, b| {
                let ordering = a.sort_key.cmp(&b.sort_key);
                if plan.reversed { ordering.reverse() } else { ordering }
            });
        }
        if plan.is_aggregate || self.sorts {
            self.groups.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        }
        let rows = if plan.is_plain() {
            self.groups.into_iter().filter_map(|group| group.rows.into_iter().next()).collect()
        } else {
            self.groups.iter().map(|g| plan.answer(&g.rows, &env)).collect::<Result<Vec<_>, _>>()?
        };
        // A page full of groups may be followed by another, though by an empty one.
        let next_page =
            if plan.group_len.is_some() { self.group_end.filter(|s| s.remaining > 0) } else { self.next_page };
        let next_page = next_page.filter(|_| !self.has_all_of_partition);
        let paging_state = next_page.map(|state| state.encode());
        Ok(ResultRows { columns: plan.result_columns(), rows, paging_state })
    }

    fn is_full(&self) -> bool {
        let is_one_group = self.plan.is_aggregate && self.plan.group_len.is_none();
        !self.sorts
            && !is_one_group
            && (self.page_ended || !self.plan.is_aggregate && (self.room == 0 || self.remaining == 0))
    }

    /// How many rows a partition can answer at most.
    fn rows_of_partition_max(&self) -> u32 {
        if self.plan.table.clustering_len == 0 { 1 } else { self.partition_limit }
    }

    fn has_rows_left(&self, partitions: &[(PartitionKey, Partition)]) -> bool {
        let Some(state) = &self.next_page else { return false };
        let Some(last) = partitions.last() else { return false };
        let end = if self.plan.reversed { last.1.rows.keys().next() } else { last.1.rows.keys().next_back() };
        last.0 != state.position.key
            || match (&state.position.clustering, end) {
                (Some(at), Some(end)) if self.plan.reversed => end < at,
                (Some(at), Some(end)) => end > at,
                _ => false,
            }
    }

    fn push_partition(
        &mut self,
        plan: &SelectPlan,
        command: &ReadCommand,
        key: &PartitionKey,
        partition: &Partition,
        unfinished: bool,
    ) {
        let Some(parts) = codec::split_partition_key(key, plan.table.partition_key_len) else { return };
        if self.last_key.as_ref() != Some(key) {
            self.last_key = Some(key.clone());
            self.in_partition = 0;
        }
        let now = self.options.unix_seconds;
        let continued = command.after.as_ref().is_some_and(|position| position.key == *key);
        self.statics_alone = false;
        let mut any_live = false;
        let mut rows: Vec<(&Bytes, &Row)> = partition.rows.iter().filter(|(_, row)| row.is_live(now)).collect();
        if plan.reversed {
            rows.reverse();
        }
        for (clustering, row) in rows {
            any_live = true;
            let is_over = self.in_partition >= self.partition_limit;
            if is_over && (!plan.is_aggregate || plan.is_distinct) || self.is_full() {
                return;
            }
            let view = RowView {
                table: &plan.table,
                key: &parts,
                row: Some(row),
                static_row: &partition.static_row,
                unix_seconds: now,
            };
            self.push_row(plan, &view, key, Some(clustering.clone()));
        }
        let statics_alone = !any_live && !continued && !unfinished && !self.has_slices;
        if statics_alone && partition.static_row.is_live(now) && !self.is_full() {
            let view = RowView {
                table: &plan.table,
                key: &parts,
                row: None,
                static_row: &partition.static_row,
                unix_seconds: now,
            };
            self.push_row(plan, &view, key, None);
            self.statics_alone = true;
        }
    }

    fn push_row(&mut self, plan: &SelectPlan, view: &RowView<'_>, key: &PartitionKey, clustering: Option<Bytes>) {
        if !self.tests.iter().all(|test| test.passes(view)) {
            return;
        }
        if plan.is_aggregate {
            return self.push_into_group(plan, view, key, clustering);
        }
        self.in_partition += 1;
        let inputs = plan.take(view);
        let sort_key = if self.sorts { sort_key(plan, view) } else { Bytes::new() };
        self.groups.push(Group { key: Vec::new(), sort_key, rows: vec![inputs] });
        self.count_one();
        if self.room == 0 {
            // DISTINCT has seen all it wants of this partition.
            let clustering = clustering.filter(|_| !plan.is_distinct);
            self.continue_behind(key, clustering);
        }
    }

    /// Adds a row to its group; a row that begins a group too many ends the page.
    fn push_into_group(
        &mut self,
        plan: &SelectPlan,
        view: &RowView<'_>,
        key: &PartitionKey,
        clustering: Option<Bytes>,
    ) {
        let group_key: Vec<Value> = (0..plan.group_len.unwrap_or(0)).map(|i| view.value(i)).collect();
        let begins = self.groups.last().is_none_or(|group| group.key != group_key);
        if begins && plan.group_len.is_some() {
            if self.room == 0 || self.remaining == 0 {
                self.page_ended = true;
                return;
            }
            if self.in_partition >= self.partition_limit {
                return;
            }
            self.in_partition += 1;
            self.count_one();
        } else if plan.is_distinct {
            // Of each partition one row counts.
            if plan.group_len.is_some() || self.in_partition > 0 {
                return;
            }
            self.in_partition += 1;
        }
        let inputs = plan.take(view);
        match self.groups.last_mut() {
            Some(group) if !begins => group.rows.push(inputs),
            _ => self.groups.push(Group { key: group_key, sort_key: Bytes::new(), rows: vec![inputs] }),
        }
        if self.room == 0 {
            self.continue_behind(key, clustering);
        }
    }

    /// One row or group less to come.
    fn count_one(&mut self) {
        self.remaining = self.remaining.saturating_sub(u32::from(self.remaining != u32::MAX));
        self.room = self.room.saturating_sub(u32::from(self.room != u32::MAX));
    }

    /// The next page begins behind this row, as far as is known now.
    fn continue_behind(&mut self, key: &PartitionKey, clustering: Option<Bytes>) {
        self.group_end = Some(PagingState {
            position: Position { key: key.clone(), clustering },
            remaining: self.remaining,
            in_partition: self.in_partition,
        });
        self.next_page.clone_from(&self.group_end);
    }
}

/// Refuses pages of groups where a group is a partition of one row.
///
/// # Errors
///
/// As Cassandra, which does not understand its own paging states of scans; several partitions by name share a page.
fn check_groups_of_partitions(
    queue: &VecDeque<ReadCommand>,
    is_paged: bool,
    is_continued: bool,
) -> Result<(), ServerError> {
    let is_scan = queue.iter().any(|command| matches!(command.target, ReadTarget::Range(_)));
    if is_scan && is_continued {
        return Err(ServerError::Protocol("Invalid value for the paging state".to_owned()));
    }
    if is_paged && queue.len() > 1 {
        return Err(not_modelled("a page of groups of several partitions that have one row each"));
    }
    Ok(())
}

/// What ORDER BY compares.
fn sort_key(plan: &SelectPlan, view: &RowView<'_>) -> Bytes {
    let mut out = Vec::new();
    for index in &plan.order_by {
        let column = &plan.table.columns[*index];
        order::push_component(&mut out, &column.cql_type, view.value(*index).as_ref(), column.descending);
    }
    Bytes::from(out)
}
