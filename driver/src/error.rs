//! The public errors, gathered in one place.

pub use crate::control::MetadataError;
pub use crate::execution::{Attempt, AttemptKind, AttemptOutcome, Certainty, Error, ErrorKind, Result};
pub use crate::policy::AttemptFailure;
pub use crate::topology::{CqlTypeParseError, RoutingKeyError};
pub use crate::value::{BindError, RowError, ValueError, ValueErrorKind};
