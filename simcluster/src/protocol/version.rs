//! Which protocol versions a server speaks, and the texts with which it refuses the others.
//!
//! Clients negotiate by these texts and by the version in the header of the refusal, so both are part of the contract.

/// The lowest version any supported server speaks.
pub const VERSION_MIN: u8 = 3;

/// The names of the versions up to `version_max`, and the beta version that Cassandra 4 and 5 know beyond 5.
#[must_use]
pub fn supported_versions(version_max: u8) -> Vec<String> {
    let mut names: Vec<String> = (VERSION_MIN..=version_max).map(version_name).collect();
    match version_max {
        5 => names.push("6/v6-beta".into()),
        // 3.11 has v5 as a beta version, without segments; nobody may use it here.
        4 => names.push("5/v5-beta".into()),
        _ => {}
    }
    names
}

/// A version as Cassandra prints it: `4/v4`.
#[must_use]
pub fn version_name(version: u8) -> String {
    format!("{version}/v{version}")
}

/// Why a request of this version is refused; `None` if it is supported.
#[must_use]
pub fn version_refusal(version: u8, has_beta_flag: bool, version_max: u8) -> Option<String> {
    if (VERSION_MIN..=version_max).contains(&version) {
        return None;
    }
    let is_beta = matches!((version_max, version), (5, 6) | (4, 5));
    if is_beta && !has_beta_flag {
        return Some(format!(
            "Beta version of the protocol used ({version}/v{version}-beta), but USE_BETA flag is unset"
        ));
    }
    Some(format!(
        "Invalid or unsupported protocol version ({version}); supported versions are ({})",
        supported_versions(version_max).join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_texts_that_clients_negotiate_by() {
        assert_eq!(
            version_refusal(66, false, 5).as_deref(),
            Some("Invalid or unsupported protocol version (66); supported versions are (3/v3, 4/v4, 5/v5, 6/v6-beta)")
        );
        assert_eq!(
            version_refusal(6, false, 5).as_deref(),
            Some("Beta version of the protocol used (6/v6-beta), but USE_BETA flag is unset")
        );
        assert_eq!(version_refusal(5, false, 5), None);
        assert!(version_refusal(2, false, 5).is_some());
    }
}
