//! Translates what a connection or a server reported into the public error and the plain facts policies see.

use super::error::ErrorKind;
use crate::connection::CallError;
use crate::policy::AttemptFailure;
use crate::protocol::response::{ServerError, ServerErrorKind};
use crate::protocol::{EncodeError, WriteType};

/// The public kind of a server error.
pub(crate) fn server_error_kind(error: ServerError) -> ErrorKind {
    use ServerErrorKind as S;
    let message = error.message;
    match error.kind {
        S::ServerError => ErrorKind::ServerError(message),
        S::Protocol => ErrorKind::Protocol(message),
        S::BadCredentials => ErrorKind::Authentication(message),
        S::Unavailable { required, alive, .. } => ErrorKind::Unavailable { required, alive },
        S::Overloaded => ErrorKind::Overloaded(message),
        S::IsBootstrapping => ErrorKind::IsBootstrapping(message),
        S::Truncate => ErrorKind::TruncateError(message),
        S::WriteTimeout { received, block_for, write_type, .. } => {
            ErrorKind::WriteTimeout { received, block_for, write_type: write_type_name(write_type) }
        }
        S::ReadTimeout { received, block_for, data_present, .. } => {
            ErrorKind::ReadTimeout { received, block_for, data_present }
        }
        S::ReadFailure { received, block_for, .. } => ErrorKind::ReadFailure { received, block_for },
        S::FunctionFailure { .. } => ErrorKind::FunctionFailure(message),
        S::WriteFailure { received, block_for, write_type, .. } => {
            ErrorKind::WriteFailure { received, block_for, write_type: write_type_name(write_type) }
        }
        S::CdcWriteFailure => ErrorKind::CdcWriteFailure(message),
        S::CasWriteUnknown { received, block_for, .. } => ErrorKind::CasWriteUnknown { received, block_for },
        S::Syntax => ErrorKind::Syntax(message),
        S::Unauthorized => ErrorKind::Unauthorized(message),
        S::Invalid => ErrorKind::Invalid(message),
        S::Config => ErrorKind::Config(message),
        S::AlreadyExists { keyspace, table } => ErrorKind::AlreadyExists { keyspace, table },
        other => ErrorKind::Other { code: other.code(), message },
    }
}

fn write_type_name(write_type: WriteType) -> String {
    let name = match write_type {
        WriteType::Simple => "SIMPLE",
        WriteType::Batch => "BATCH",
        WriteType::UnloggedBatch => "UNLOGGED_BATCH",
        WriteType::Counter => "COUNTER",
        WriteType::BatchLog => "BATCH_LOG",
        WriteType::Cas => "CAS",
        WriteType::View => "VIEW",
        WriteType::Cdc => "CDC",
        WriteType::Other(name) => return name,
    };
    name.to_owned()
}

/// What policies see of a server error.
pub(super) fn server_failure(kind: &ServerErrorKind) -> AttemptFailure {
    use AttemptFailure as F;
    use ServerErrorKind as S;
    match kind {
        S::ServerError => F::ServerError,
        S::Overloaded => F::Overloaded,
        S::IsBootstrapping => F::IsBootstrapping,
        S::Truncate => F::TruncateError,
        S::Unavailable { required, alive, .. } => F::Unavailable { required: *required, alive: *alive },
        S::ReadTimeout { received, block_for, data_present, .. } => {
            F::ReadTimeout { received: *received, block_for: *block_for, data_present: *data_present }
        }
        S::WriteTimeout { received, block_for, write_type, .. } => {
            F::WriteTimeout { received: *received, block_for: *block_for, write_type: write_type.clone() }
        }
        S::ReadFailure { .. } => F::ReadFailure,
        S::WriteFailure { .. } => F::WriteFailure,
        S::CdcWriteFailure => F::CdcWriteFailure,
        S::CasWriteUnknown { .. } => F::CasWriteUnknown,
        S::Protocol
        | S::BadCredentials
        | S::Syntax
        | S::Unauthorized
        | S::Invalid
        | S::Config
        | S::AlreadyExists { .. }
        | S::Unprepared { .. } => F::InvalidRequest,
        // A function may have failed in the condition or selection of a statement whose other parts ran.
        other => F::Unknown { code: other.code() },
    }
}

/// Whether the error is about a linearizable phase, which only conditional statements and serial reads have.
pub(super) fn is_serial(kind: &ServerErrorKind) -> bool {
    use ServerErrorKind as S;
    match kind {
        S::Unavailable { consistency, .. }
        | S::WriteTimeout { consistency, .. }
        | S::ReadTimeout { consistency, .. }
        | S::ReadFailure { consistency, .. }
        | S::WriteFailure { consistency, .. }
        | S::CasWriteUnknown { consistency, .. } => consistency.is_serial(),
        _ => false,
    }
}

/// What policies and callers see of a call without an answer.
pub(super) fn call_failure(error: CallError) -> (AttemptFailure, ErrorKind) {
    match error {
        CallError::Encode(EncodeError::Bind(error)) => (AttemptFailure::NotSent, ErrorKind::Bind(*error)),
        CallError::Encode(error) => (AttemptFailure::NotSent, ErrorKind::Encode(error.to_string())),
        CallError::Busy => (AttemptFailure::NotSent, ErrorKind::Busy),
        CallError::Closed(_) => (AttemptFailure::NotSent, ErrorKind::NoNodeAvailable),
        CallError::NotSent(reason) => (AttemptFailure::NotSent, ErrorKind::ConnectionLost(reason.to_string())),
        CallError::Timeout => (AttemptFailure::AttemptTimeout, ErrorKind::AttemptTimeout),
        CallError::MaybeSent(reason) => (AttemptFailure::ConnectionLost, ErrorKind::ConnectionLost(reason.to_string())),
    }
}
