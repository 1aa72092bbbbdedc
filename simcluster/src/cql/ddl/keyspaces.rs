//! CREATE, ALTER and DROP KEYSPACE.

use super::properties::{check_keyspace_properties, keyspace_properties};
use super::{Change, Changes, event, invalid};
use crate::cql::ast::Properties;
use crate::cql::system::{self, is_system};
use crate::protocol::ServerError;
use crate::schema::Keyspace;
use std::collections::BTreeMap;

impl Change<'_> {
    pub(super) fn create_keyspace(
        &self,
        name: &str,
        if_not_exists: bool,
        properties: &Properties,
    ) -> Result<Option<Changes>, ServerError> {
        if is_local_system(name) {
            return Err(invalid(format!("System keyspace '{name}' is not user-modifiable")));
        }
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(invalid(format!(
                "Keyspace name must not be empty and must contain alphanumeric or underscore characters only (got \"{name}\")"
            )));
        }
        if name.len() > 48 {
            return Err(invalid(format!(
                "Keyspace name must not be more than 48 characters long (got {} characters for \"{name}\")",
                name.len()
            )));
        }
        if !properties.iter().any(|(property, _)| property == "replication") {
            return Err(invalid("Missing mandatory option 'replication'"));
        }
        let mut keyspace = Keyspace {
            name: name.to_owned(),
            replication: BTreeMap::new(),
            durable_writes: true,
            tables: BTreeMap::new(),
            views: BTreeMap::new(),
            types: BTreeMap::new(),
            functions: BTreeMap::new(),
            aggregates: BTreeMap::new(),
            is_virtual: false,
        };
        check_keyspace_properties(properties)?;
        if self.schema.keyspaces.contains_key(name) {
            if if_not_exists {
                return Ok(None);
            }
            return Err(ServerError::AlreadyExists {
                keyspace: name.to_owned(),
                table: String::new(),
                message: format!("Cannot add existing keyspace \"{name}\""),
            });
        }
        keyspace_properties(&mut keyspace, properties, self.datacenters)?;
        let rows = system::keyspace_rows(self.schema, &keyspace, self.timestamp);
        Ok(Some((rows, event("CREATED", "KEYSPACE", name, ""))))
    }

    pub(super) fn alter_keyspace(
        &self,
        name: &str,
        if_exists: bool,
        properties: &Properties,
    ) -> Result<Option<Changes>, ServerError> {
        if if_exists && !self.schema.keyspaces.contains_key(name) {
            return Ok(None);
        }
        let before = self.existing_keyspace(name)?;
        let mut keyspace = Keyspace::clone(before);
        if is_system(name) && !matches!(name, "system_auth" | "system_distributed" | "system_traces") {
            return Err(ServerError::Unauthorized(format!("{name} keyspace is not user-modifiable.")));
        }
        check_keyspace_properties(properties)?;
        let before = (keyspace.replication.clone(), keyspace.durable_writes);
        keyspace_properties(&mut keyspace, properties, self.datacenters)?;
        if before == (keyspace.replication.clone(), keyspace.durable_writes) {
            return Ok(None);
        }
        let rows = system::keyspace_rows(self.schema, &keyspace, self.timestamp);
        Ok(Some((rows, event("UPDATED", "KEYSPACE", name, ""))))
    }

    pub(super) fn drop_keyspace(&self, name: &str, if_exists: bool) -> Result<Option<Changes>, ServerError> {
        if is_system(name) {
            return Err(ServerError::Unauthorized(format!("{name} keyspace is not user-modifiable.")));
        }
        if if_exists && !self.schema.keyspaces.contains_key(name) {
            return Ok(None);
        }
        self.existing_keyspace(name)?;
        let tables = [
            "keyspaces",
            "tables",
            "columns",
            "types",
            "functions",
            "aggregates",
            "indexes",
            "dropped_columns",
            "views",
        ];
        let rows = tables.iter().filter_map(|table| self.deletion(table, &[("keyspace_name", name)])).collect();
        Ok(Some((rows, event("DROPPED", "KEYSPACE", name, ""))))
    }
}

/// Keyspaces of the node itself; the others of the system exist like a user's.
pub(super) fn is_local_system(name: &str) -> bool {
    is_system(name) && !matches!(name, "system_auth" | "system_distributed" | "system_traces")
}
