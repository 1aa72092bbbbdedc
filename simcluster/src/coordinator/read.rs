//! Reads of one command from the replicas of one place: data from the nearest, digests from the others, and repair
//! if they differ.
//!
//! # Invariants
//!
//! - An answer merges what `block_for` replicas said; if they differed, what the others lacked was written back to as
//!   many of them as the consistency level needs before the client is answered. A later read at the same level
//!   therefore never sees less.
//! - An answer with fewer live rows than asked for is complete: there are no more ("short read protection").
//!
//! # Source
//!
//! Research on cluster fidelity, section 3.4.

use super::consistency::{Placement, ReadTargets, count};
use super::io::Io;
use super::range::RangeRead;
use crate::kernel::{NodeId, SimInstant};
use crate::protocol::{Consistency, ServerError};
use crate::replica::{Question, QuestionId, Reply, reason};
use crate::schema::Table;
use crate::storage::{Position, ReadAnswer, ReadCommand, ReadTarget};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a read ends with, once it has ended.
pub(super) type Fetched = Option<Result<ReadAnswer, ServerError>>;

/// One command, of a partition or of an arc of the ring.
#[derive(Debug)]
pub(super) enum Fetch {
    Partition(Box<CommandRead>),
    Range(Box<RangeRead>),
}

impl Fetch {
    /// # Errors
    ///
    /// Unavailable, a level that reads cannot have, or the table is gone: nothing was sent.
    pub(super) fn start(io: &mut Io<'_>, command: ReadCommand, consistency: Consistency) -> Result<Self, ServerError> {
        validate_read(consistency)?;
        refuse_while_joining(io, &command)?;
        match &command.target {
            ReadTarget::Range(range) => {
                let range = *range;
                Ok(Self::Range(Box::new(RangeRead::start(io, command, range, consistency)?)))
            }
            ReadTarget::Partition(key) => {
                let token = crate::ring::Token::of_key(key);
                let placement = Placement::of(io.context, &command.keyspace, token)?;
                let tie_break = io.draw("read order");
                let targets = ReadTargets::of(io.context, &placement, consistency, tie_break)?;
                let deadline = io.wake_after(io.config.read_timeout);
                let read = CommandRead::start(io, command, targets, consistency, deadline, Style::Digests)?;
                Ok(Self::Partition(Box::new(read)))
            }
        }
    }

    pub(super) fn handle_reply(&mut self, io: &mut Io<'_>, from: NodeId, id: QuestionId, reply: Reply) -> Fetched {
        match self {
            Self::Partition(read) => read.handle_reply(io, from, id, reply),
            Self::Range(read) => read.handle_reply(io, from, id, reply),
        }
    }

    pub(super) fn handle_timeout(&mut self, io: &mut Io<'_>) -> Fetched {
        match self {
            Self::Partition(read) => read.handle_timeout(io),
            Self::Range(read) => read.handle_timeout(io),
        }
    }
}

/// How replicas are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Data from one, digests from the others; one more is asked if they are slow.
    Digests,
    /// Data from all.
    DataOnly,
}

/// A command at fixed replicas, continued until there are enough live rows.
#[derive(Debug)]
pub(super) struct CommandRead {
    command: ReadCommand,
    table: Arc<Table>,
    targets: ReadTargets,
    consistency: Consistency,
    deadline: SimInstant,
    style: Style,
    gathered: ReadAnswer,
    round: Round,
}

impl CommandRead {
    /// # Errors
    ///
    /// The table is gone.
    pub(super) fn start(
        io: &mut Io<'_>,
        command: ReadCommand,
        targets: ReadTargets,
        consistency: Consistency,
        deadline: SimInstant,
        style: Style,
    ) -> Result<Self, ServerError> {
        let table = io.table(&command.keyspace, command.table)?;
        let round = Round::start(io, &command, &table, &targets, style);
        Ok(Self { command, table, targets, consistency, deadline, style, gathered: ReadAnswer::default(), round })
    }

    pub(super) fn is_waiting_for(&self, id: QuestionId) -> bool {
        self.round.asked.contains(&id)
    }

    /// The live rows of an answer.
    pub(super) fn live_rows(&self, io: &Io<'_>, answer: &ReadAnswer) -> usize {
        answer.live_rows(&self.table, io.context.now.unix_seconds())
    }

    pub(super) fn handle_reply(&mut self, io: &mut Io<'_>, from: NodeId, id: QuestionId, reply: Reply) -> Fetched {
        if !self.round.asked.remove(&id) {
            return None;
        }
        self.round.take(from, reply);
        self.advance(io)
    }

    pub(super) fn handle_timeout(&mut self, io: &mut Io<'_>) -> Fetched {
        if io.now() >= self.deadline {
            return Some(Err(self.round.late(io, self.consistency, self.targets.block_for)));
        }
        if self.round.speculate_at.is_some_and(|at| io.now() >= at) {
            self.round.speculate_at = None;
            self.round.ask_spare(io);
        }
        None
    }

    fn advance(&mut self, io: &mut Io<'_>) -> Fetched {
        match self.round.advance(io, &self.table, self.consistency, self.targets.block_for)? {
            Err(error) => Some(Err(error)),
            Ok(answer) => {
                join(&mut self.gathered, answer);
                let live = self.live_rows(io, &self.gathered);
                match self.gathered.truncated_at.clone() {
                    // The replicas stopped at the limit, but what they sent has fewer rows once it is merged.
                    Some(position) if live < self.command.row_limit => {
                        let rest = self.command.after(&position, self.command.row_limit - live);
                        self.round = Round::start(io, &rest, &self.table, &self.targets, self.style);
                        None
                    }
                    _ => {
                        let mut answer = std::mem::take(&mut self.gathered);
                        cut_to(&mut answer, self.command.row_limit, io.context.now.unix_seconds());
                        Some(Ok(answer))
                    }
                }
            }
        }
    }
}

/// One exchange with the replicas.
#[derive(Debug)]
struct Round {
    command: ReadCommand,
    contacts: Vec<NodeId>,
    spare: Vec<NodeId>,
    speculate_at: Option<SimInstant>,
    asked: BTreeSet<QuestionId>,
    failures: BTreeMap<NodeId, u16>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Waiting for data and digests.
    Comparing { data: BTreeMap<NodeId, ReadAnswer>, digests: BTreeMap<NodeId, [u8; 16]> },
    /// Waiting for data of all.
    Merging { answers: BTreeMap<NodeId, ReadAnswer> },
    /// Waiting for repairs to be acknowledged.
    Repairing {
        merged: ReadAnswer,
        /// Repairs not yet acknowledged, by replica.
        outstanding: BTreeMap<NodeId, usize>,
        /// How many more replicas must have acknowledged all of theirs.
        replicas_needed: usize,
    },
}

impl Round {
    fn start(io: &mut Io<'_>, command: &ReadCommand, table: &Table, targets: &ReadTargets, style: Style) -> Self {
        let mut round = Self {
            command: command.clone(),
            contacts: targets.contacts.clone(),
            spare: targets.spare.clone(),
            speculate_at: None,
            asked: BTreeSet::new(),
            failures: BTreeMap::new(),
            phase: match style {
                Style::Digests => Phase::Comparing { data: BTreeMap::new(), digests: BTreeMap::new() },
                Style::DataOnly => Phase::Merging { answers: BTreeMap::new() },
            },
        };
        for (position, node) in round.contacts.clone().into_iter().enumerate() {
            let wants_data = position == 0 || style == Style::DataOnly;
            round.ask(io, node, wants_data);
        }
        if style == Style::Digests && !round.spare.is_empty() {
            match speculation(table, io.config.speculative_retry) {
                Some(delay) if delay.is_zero() => round.ask_spare(io),
                Some(delay) => round.speculate_at = Some(io.wake_after(delay)),
                None => {}
            }
        }
        round
    }

    fn ask(&mut self, io: &mut Io<'_>, node: NodeId, wants_data: bool) {
        let command = self.command.clone();
        let question = if wants_data { Question::Read(command) } else { Question::ReadDigest(command) };
        self.asked.insert(io.ask(node, question));
    }

    /// Asks one more replica, for what is missing.
    fn ask_spare(&mut self, io: &mut Io<'_>) {
        let wants_data = match &self.phase {
            Phase::Comparing { data, .. } => data.is_empty(),
            Phase::Merging { .. } => true,
            Phase::Repairing { .. } => return,
        };
        if !self.spare.is_empty() {
            let node = self.spare.remove(0);
            self.contacts.push(node);
            self.ask(io, node, wants_data);
        }
    }

    fn take(&mut self, from: NodeId, reply: Reply) {
        match (&mut self.phase, reply) {
            (Phase::Comparing { data, .. }, Reply::Data(answer)) => {
                data.insert(from, answer);
            }
            (Phase::Comparing { digests, .. }, Reply::Digest(digest)) => {
                digests.insert(from, digest);
            }
            (Phase::Merging { answers }, Reply::Data(answer)) => {
                answers.insert(from, answer);
            }
            (Phase::Repairing { outstanding, replicas_needed, .. }, Reply::Done) => {
                if let Some(left) = outstanding.get_mut(&from) {
                    *left -= 1;
                    if *left == 0 {
                        outstanding.remove(&from);
                        *replicas_needed = replicas_needed.saturating_sub(1);
                    }
                }
            }
            // A repair that failed is as good as one that was lost: the deadline decides.
            (Phase::Repairing { .. }, _) => {}
            (_, Reply::Failed(code)) => {
                self.failures.insert(from, code);
            }
            (_, _) => {
                self.failures.insert(from, reason::UNKNOWN);
            }
        }
    }

    fn advance(&mut self, io: &mut Io<'_>, table: &Table, consistency: Consistency, block_for: usize) -> Fetched {
        let received = self.received();
        let can_fail = !matches!(self.phase, Phase::Repairing { .. });
        if can_fail && received < block_for && block_for + self.failures.len() > self.contacts.len() {
            return Some(Err(self.failure(io, consistency, block_for)));
        }
        if let Phase::Comparing { data, digests } = &mut self.phase {
            if received < block_for {
                return None;
            }
            let Some((_, first)) = data.first_key_value() else {
                // Only digests so far: enough answers, and nothing to answer.
                return (block_for + self.failures.len() > self.contacts.len())
                    .then(|| Err(self.failure(io, consistency, block_for)));
            };
            if data.len() + digests.len() == 1 {
                return data.pop_first().map(|(_, answer)| Ok(answer));
            }
            let expected = first.digest();
            let agree = data.values().skip(1).all(|answer| answer.digest() == expected)
                && digests.values().all(|digest| *digest == expected);
            if agree {
                return data.pop_first().map(|(_, answer)| Ok(answer));
            }
            self.ask_all_for_data(io);
            return None;
        }
        if let Phase::Merging { answers } = &mut self.phase {
            if answers.len() < block_for {
                return None;
            }
            let answers = std::mem::take(answers);
            self.merge(io, answers, table, block_for);
        }
        match &mut self.phase {
            Phase::Repairing { merged, replicas_needed: 0, .. } => Some(Ok(std::mem::take(merged))),
            _ => None,
        }
    }

    fn ask_all_for_data(&mut self, io: &mut Io<'_>) {
        self.asked.clear();
        self.failures.clear();
        self.phase = Phase::Merging { answers: BTreeMap::new() };
        for node in self.contacts.clone() {
            self.ask(io, node, true);
        }
    }

    /// Merges, and writes to the replicas what they lack.
    fn merge(&mut self, io: &mut Io<'_>, answers: BTreeMap<NodeId, ReadAnswer>, table: &Table, block_for: usize) {
        self.asked.clear();
        let (nodes, answers): (Vec<NodeId>, Vec<ReadAnswer>) = answers.into_iter().unzip();
        let (merged, repairs) = if nodes.len() == 1 {
            (answers.into_iter().next().unwrap_or_default(), Vec::new())
        } else {
            ReadAnswer::merge(table, answers)
        };
        let mut outstanding: BTreeMap<NodeId, usize> = BTreeMap::new();
        if is_repaired(table) {
            for (index, mutation) in repairs {
                let node = nodes[index];
                *outstanding.entry(node).or_default() += 1;
                self.asked.insert(io.ask(node, Question::ReadRepair(mutation)));
            }
        }
        // Replicas that lacked nothing count as repaired.
        let replicas_needed = (block_for + outstanding.len()).saturating_sub(nodes.len()).min(outstanding.len());
        self.phase = Phase::Repairing { merged, outstanding, replicas_needed };
    }

    fn received(&self) -> usize {
        match &self.phase {
            Phase::Comparing { data, digests } => data.len() + digests.len(),
            Phase::Merging { answers } => answers.len(),
            Phase::Repairing { .. } => self.contacts.len(),
        }
    }

    fn has_data(&self) -> bool {
        match &self.phase {
            Phase::Comparing { data, .. } => !data.is_empty(),
            Phase::Merging { answers } => !answers.is_empty(),
            Phase::Repairing { .. } => true,
        }
    }

    /// The error when the time is up.
    fn late(&self, io: &Io<'_>, consistency: Consistency, block_for: usize) -> ServerError {
        if matches!(self.phase, Phase::Repairing { .. }) {
            return ServerError::ReadTimeout {
                consistency,
                received: count(block_for - 1),
                block_for: count(block_for),
                data_present: true,
            };
        }
        if self.failures.is_empty() {
            self.timeout(consistency, block_for)
        } else {
            self.failure(io, consistency, block_for)
        }
    }

    fn timeout(&self, consistency: Consistency, block_for: usize) -> ServerError {
        ServerError::ReadTimeout {
            consistency,
            received: count(self.received()),
            block_for: count(block_for),
            data_present: self.has_data(),
        }
    }

    fn failure(&self, io: &Io<'_>, consistency: Consistency, block_for: usize) -> ServerError {
        if self.failures.values().all(|code| *code == reason::TIMEOUT) {
            return self.timeout(consistency, block_for);
        }
        ServerError::ReadFailure {
            consistency,
            received: count(self.received()),
            block_for: count(block_for),
            reasons: self.failures.iter().map(|(node, code)| (io.context.ring.address(*node), *code)).collect(),
            data_present: self.has_data(),
        }
    }
}

/// The table option `read_repair`: BLOCKING unless it says NONE.
fn is_repaired(table: &Table) -> bool {
    table.options.get("read_repair").is_none_or(|option| !option.to_ascii_uppercase().contains("NONE"))
}

/// Appends the continuation of an answer; rows of a partition that both have become one partition.
pub(super) fn join(answer: &mut ReadAnswer, mut next: ReadAnswer) {
    if let (Some((last, partition)), Some((first, _))) = (answer.partitions.last_mut(), next.partitions.first())
        && last == first
    {
        partition.merge(next.partitions.remove(0).1);
    }
    answer.append(next);
}

/// Cuts an answer behind its `limit`-th live row: replicas that lacked different rows have more of them together.
pub(super) fn cut_to(answer: &mut ReadAnswer, limit: usize, unix_seconds: i64) {
    let mut room = limit;
    let mut kept = 0;
    while let Some((_, partition)) = answer.partitions.get(kept) {
        let live = partition.live_rows(unix_seconds);
        if live > room {
            break;
        }
        room -= live;
        kept += 1;
    }
    if kept == answer.partitions.len() {
        return;
    }
    let reversed = answer.reversed;
    let last_row = answer.partitions.get(kept).and_then(|(_, partition)| {
        let mut live = partition.rows.iter().filter(|(_, row)| row.is_live(unix_seconds)).map(|(key, _)| key);
        let before = room.checked_sub(1)?;
        if reversed { live.nth_back(before) } else { live.nth(before) }.cloned()
    });
    if last_row.is_some() {
        kept += 1;
    }
    answer.partitions.truncate(kept);
    let Some((key, partition)) = answer.partitions.last_mut() else { return };
    if let Some(last) = &last_row {
        partition.rows.retain(|row, _| if reversed { row >= last } else { row <= last });
    }
    answer.truncated_at = Some(Position { key: key.clone(), clustering: last_row });
}

/// How long a table's reads wait before one more replica is asked; `None` is for ever.
fn speculation(table: &Table, percentile: Duration) -> Option<Duration> {
    let option = table.options.get("speculative_retry").map_or("99p", |text| text.trim_matches('\''));
    let option = option.to_ascii_uppercase();
    match option.as_str() {
        "NEVER" | "NONE" => None,
        "ALWAYS" => Some(Duration::ZERO),
        _ => {
            let millis = option.strip_suffix("MS").and_then(|number| number.trim().parse::<f64>().ok());
            Some(millis.filter(|ms| (0.0..1e9).contains(ms)).map_or(percentile, |ms| Duration::from_secs_f64(ms / 1e3)))
        }
    }
}

/// # Errors
///
/// Invalid, for the level that only writes have.
pub(super) fn validate_read(consistency: Consistency) -> Result<(), ServerError> {
    match consistency {
        Consistency::Any => Err(ServerError::Invalid("ANY ConsistencyLevel is only supported for writes".to_owned())),
        _ => Ok(()),
    }
}

fn refuse_while_joining(io: &Io<'_>, command: &ReadCommand) -> Result<(), ServerError> {
    let me = io.context.me;
    let is_joining = io.context.ring.joining.values().any(|node| *node == me);
    if is_joining && !command.keyspace.starts_with("system") { Err(ServerError::IsBootstrapping) } else { Ok(()) }
}
