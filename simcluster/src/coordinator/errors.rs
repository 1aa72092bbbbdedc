//! Errors as clients of older protocol versions know them.
//!
//! # Source
//!
//! Research on cluster fidelity, section 3.4: v3 has timeouts instead of failures, v4 has no CAS_WRITE_UNKNOWN and no
//! count of contentions, v3 has no function failure.

use crate::protocol::{ServerError, WriteType};

/// The error as a client of this protocol version is told.
pub(super) fn for_version(error: ServerError, protocol_version: u8) -> ServerError {
    match error {
        ServerError::CasWriteUnknown { consistency, received, block_for } if protocol_version < 5 => {
            let write_type = WriteType::Cas;
            ServerError::WriteTimeout { consistency, received, block_for, write_type, contentions: None }
        }
        ServerError::WriteTimeout { consistency, received, block_for, write_type, .. } if protocol_version < 5 => {
            ServerError::WriteTimeout { consistency, received, block_for, write_type, contentions: None }
        }
        ServerError::WriteFailure { consistency, received, block_for, write_type, .. } if protocol_version < 4 => {
            ServerError::WriteTimeout { consistency, received, block_for, write_type, contentions: None }
        }
        ServerError::ReadFailure { consistency, received, block_for, data_present, .. } if protocol_version < 4 => {
            ServerError::ReadTimeout { consistency, received, block_for, data_present }
        }
        ServerError::FunctionFailure { message, .. } if protocol_version < 4 => ServerError::Invalid(message),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::for_version;
    use crate::protocol::{Consistency, ServerError, WriteType};

    fn write_timeout(write_type: WriteType, contentions: Option<u16>) -> ServerError {
        let consistency = Consistency::Serial;
        ServerError::WriteTimeout { consistency, received: 1, block_for: 2, write_type, contentions }
    }

    #[test]
    fn unknown_cas_outcome_is_a_cas_timeout_before_v5() {
        let consistency = Consistency::Serial;
        let unknown = ServerError::CasWriteUnknown { consistency, received: 1, block_for: 2 };
        assert_eq!(for_version(unknown.clone(), 5), unknown);
        assert_eq!(for_version(unknown, 4), write_timeout(WriteType::Cas, None));
    }

    #[test]
    fn contentions_are_told_from_v5_on() {
        let error = write_timeout(WriteType::Cas, Some(3));
        assert_eq!(for_version(error.clone(), 5), error);
        assert_eq!(for_version(error, 4), write_timeout(WriteType::Cas, None));
    }

    #[test]
    fn failures_are_timeouts_in_v3() {
        let consistency = Consistency::Quorum;
        let failure = ServerError::WriteFailure {
            consistency,
            received: 1,
            block_for: 2,
            reasons: Vec::new(),
            write_type: WriteType::Batch,
        };
        assert_eq!(for_version(failure.clone(), 4), failure);
        let ServerError::WriteTimeout { write_type, .. } = for_version(failure, 3) else { panic!("no timeout") };
        assert_eq!(write_type, WriteType::Batch);

        let failure = ServerError::ReadFailure {
            consistency,
            received: 1,
            block_for: 2,
            reasons: Vec::new(),
            data_present: true,
        };
        let timeout = ServerError::ReadTimeout { consistency, received: 1, block_for: 2, data_present: true };
        assert_eq!(for_version(failure, 3), timeout);
    }
}
