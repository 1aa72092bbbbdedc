//! Reads over an arc of the ring, piece by piece in token order, until there are enough rows.
//!
//! Consecutive pieces with the same replicas are read as one. The number of pieces read at the same time doubles
//! after every batch that did not bring enough rows.
//!
//! # Source
//!
//! Research on cluster fidelity, section 3.4: range reads have no digests and no speculation.

use super::consistency::{Placement, ReadTargets};
use super::io::Io;
use super::read::{CommandRead, Fetched, Style, cut_to, join};
use crate::kernel::{NodeId, SimInstant};
use crate::protocol::{Consistency, ServerError};
use crate::replica::{QuestionId, Reply};
use crate::ring::{Token, TokenRange};
use crate::storage::{Position, ReadAnswer, ReadCommand};
use std::collections::{BTreeSet, VecDeque};

#[derive(Debug)]
pub(super) struct RangeRead {
    command: ReadCommand,
    consistency: Consistency,
    deadline: SimInstant,
    tie_break: u64,
    pending: VecDeque<Piece>,
    running: VecDeque<RunningPiece>,
    batch_size: usize,
    gathered: ReadAnswer,
    live_rows: usize,
}

#[derive(Debug)]
struct Piece {
    range: TokenRange,
    placement: Placement,
}

#[derive(Debug)]
struct RunningPiece {
    read: CommandRead,
    answer: Option<ReadAnswer>,
}

impl RangeRead {
    /// # Errors
    ///
    /// Unavailable in any piece, or the keyspace or table is gone: nothing was sent.
    pub(super) fn start(
        io: &mut Io<'_>,
        command: ReadCommand,
        range: TokenRange,
        consistency: Consistency,
    ) -> Result<Self, ServerError> {
        let tie_break = io.draw("read order");
        let pending = pieces(io, &command, range)?;
        for piece in &pending {
            ReadTargets::of(io.context, &piece.placement, consistency, tie_break)?;
        }
        let mut read = Self {
            command,
            consistency,
            deadline: io.wake_after(io.config.range_timeout),
            tie_break,
            pending,
            running: VecDeque::new(),
            batch_size: 1,
            gathered: ReadAnswer::default(),
            live_rows: 0,
        };
        read.start_batch(io)?;
        Ok(read)
    }

    pub(super) fn handle_reply(&mut self, io: &mut Io<'_>, from: NodeId, id: QuestionId, reply: Reply) -> Fetched {
        let piece = self.running.iter_mut().find(|piece| piece.read.is_waiting_for(id))?;
        match piece.read.handle_reply(io, from, id, reply)? {
            Ok(answer) => piece.answer = Some(answer),
            Err(error) => return Some(Err(error)),
        }
        self.advance(io)
    }

    pub(super) fn handle_timeout(&mut self, io: &mut Io<'_>) -> Fetched {
        let waiting = self.running.iter_mut().filter(|piece| piece.answer.is_none());
        waiting.filter_map(|piece| piece.read.handle_timeout(io)).next()
    }

    fn advance(&mut self, io: &mut Io<'_>) -> Fetched {
        while let Some(piece) = self.running.front_mut() {
            let answer = piece.answer.take()?;
            self.live_rows += piece.read.live_rows(io, &answer);
            self.running.pop_front();
            join(&mut self.gathered, answer);
            if self.live_rows >= self.command.row_limit {
                let is_last = self.running.is_empty() && self.pending.is_empty();
                return Some(Ok(self.finish(io, !is_last)));
            }
        }
        if self.pending.is_empty() {
            return Some(Ok(self.finish(io, false)));
        }
        self.batch_size = (self.batch_size * 2).min(BATCH_MAX);
        self.start_batch(io).err().map(Err)
    }

    fn start_batch(&mut self, io: &mut Io<'_>) -> Result<(), ServerError> {
        for _ in 0..self.batch_size {
            let Some(Piece { range, placement }) = self.pending.pop_front() else { break };
            let targets = ReadTargets::of(io.context, &placement, self.consistency, self.tie_break)?;
            let mut command = self.command.over(range);
            command.row_limit = self.command.row_limit - self.live_rows;
            let read = CommandRead::start(io, command, targets, self.consistency, self.deadline, Style::DataOnly)?;
            self.running.push_back(RunningPiece { read, answer: None });
        }
        Ok(())
    }

    /// The answer. If pieces are left unread it is truncated behind its last partition at the latest.
    fn finish(&mut self, io: &Io<'_>, is_truncated: bool) -> ReadAnswer {
        let mut answer = std::mem::take(&mut self.gathered);
        cut_to(&mut answer, self.command.row_limit, io.context.now.unix_seconds());
        if is_truncated
            && answer.truncated_at.is_none()
            && let Some((key, _)) = answer.partitions.last()
        {
            answer.truncated_at = Some(Position { key: key.clone(), clustering: None });
        }
        answer
    }
}

/// Pieces read at the same time at most.
const BATCH_MAX: usize = 32;

/// Cuts the arc where the replicas change.
fn pieces(io: &Io<'_>, command: &ReadCommand, range: TokenRange) -> Result<VecDeque<Piece>, ServerError> {
    let mut pieces: VecDeque<Piece> = VecDeque::new();
    for arc in io.context.ring.arcs(remaining(command, range)) {
        let placement = Placement::of(io.context, &command.keyspace, arc.up_to)?;
        let set = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
        match pieces.back_mut() {
            Some(last) if set(&last.placement.natural) == set(&placement.natural) => last.range.up_to = arc.up_to,
            _ => pieces.push_back(Piece { range: arc, placement }),
        }
    }
    Ok(pieces)
}

/// The part of the arc that a continued read has still before it, the partition it stopped in included.
fn remaining(command: &ReadCommand, range: TokenRange) -> TokenRange {
    let Some(position) = &command.after else { return range };
    let token = Token::of_key(&position.key);
    match token.0.checked_sub(1).map(Token) {
        Some(after) if range.contains(token) && after != range.up_to => TokenRange { after, ..range },
        _ => range,
    }
}
