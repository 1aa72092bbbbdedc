//! Options of preparing a statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

/// What a statement is prepared with, for [`Session::prepare_with`](super::Session::prepare_with). A coordinator that
/// has forgotten the statement is asked for it again with the same.
#[derive(Debug, Clone, Default)]
#[must_use = "give it to Session::prepare_with"]
pub struct PrepareOptions {
    pub(super) keyspace: Option<Arc<str>>,
    pub(super) custom_payload: Option<BTreeMap<String, Bytes>>,
}

impl PrepareOptions {
    /// As `Session::prepare` does it.
    pub fn new() -> Self {
        Self::default()
    }

    /// What unqualified names mean; protocol v5. Case-sensitive, without quotes. Default: the session's keyspace.
    ///
    /// With an older protocol preparing fails with [`ErrorKind::Encode`](crate::ErrorKind::Encode).
    pub fn keyspace(mut self, name: impl Into<Arc<str>>) -> Self {
        self.keyspace = Some(name.into());
        self
    }

    /// Bytes for the server's query handler when it prepares; protocol v4 and later. Default: none.
    pub fn custom_payload(mut self, payload: BTreeMap<String, Bytes>) -> Self {
        self.custom_payload = Some(payload);
        self
    }
}
