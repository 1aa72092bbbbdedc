//! Reads of the node's own tables, which no other node is asked for.

use super::Node;
use crate::cql::ReadExecution;
use crate::kernel::Now;
use crate::protocol::{ResultRows, ServerError};
use crate::storage::{ColumnId, ReadAnswer};

impl Node {
    /// Carries out a read on the node's own store.
    pub(super) fn read_locally(&self, now: Now, mut read: ReadExecution) -> Result<ResultRows, ServerError> {
        while let Some(command) = read.next_command() {
            let Some(table) = self.schema.table_by_id(command.table) else { continue };
            let mut answer = self.store.read(table, &command, now.unix_seconds());
            if (table.keyspace.as_str(), table.name.as_str()) == ("system_schema", "tables") {
                hide_cdc(&mut answer);
            }
            if answer.truncated_at.is_none() && self.schema.keyspaces.get(&table.keyspace).is_some_and(|k| k.is_virtual)
            {
                // Virtual tables are ordered by their keys, not by tokens.
                answer.partitions.sort_by(|(left, _), (right, _)| left.cmp(right));
            }
            read.push_answer(&self.schema, answer);
        }
        read.finish()
    }
}

/// Takes away whether tables capture changes: a node that captures none keeps it in mind and not in its tables.
fn hide_cdc(answer: &mut ReadAnswer) {
    let hidden = ColumnId::of("cdc");
    let rows = answer.partitions.iter_mut().flat_map(|(_, partition)| partition.rows.values_mut());
    for row in rows.filter(|row| row.columns.contains_key(&hidden)) {
        row.columns.remove(&hidden);
    }
}
