//! What the application keeps of answers and errors.

use crate::history::{AccountRead, Certainty, Failed};
use helenus::Error;

/// What the row of an account, or of a swap that was not applied, says.
pub(super) fn account_of(row: Option<&helenus::value::CqlRow>) -> Result<AccountRead, Error> {
    let number = |name: &str| row.map(|row| row.get::<Option<i32>>(name)).transpose();
    Ok(AccountRead {
        version: number("version")?.flatten().unwrap_or(-1),
        operation: number("operation")?.flatten().and_then(|operation| u32::try_from(operation).ok()).unwrap_or(0),
    })
}

/// What the application notes of an error.
#[must_use]
pub fn describe(error: &Error) -> Failed {
    let debug = format!("{:?}", error.kind());
    Failed {
        certainty: match error.certainty() {
            helenus::Certainty::NotSent => Certainty::NotSent,
            helenus::Certainty::Rejected => Certainty::Rejected,
            helenus::Certainty::MaybeApplied => Certainty::MaybeApplied,
            helenus::Certainty::Applied => Certainty::Applied,
        },
        kind: debug.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned(),
        message: error.to_string(),
        attempts: error.attempts().len(),
    }
}
