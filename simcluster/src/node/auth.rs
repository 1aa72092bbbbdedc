//! Authentication: `AllowAllAuthenticator`, or `PasswordAuthenticator` if the configuration names users.

use crate::protocol::ServerError;

/// The class that AUTHENTICATE names.
pub(super) const PASSWORD_AUTHENTICATOR: &str = "org.apache.cassandra.auth.PasswordAuthenticator";

/// Checks a SASL PLAIN token (authorization id, NUL, user, NUL, password); answers the user.
///
/// # Errors
///
/// [`ServerError::BadCredentials`] with Cassandra's text.
pub(super) fn authenticate(users: &[(String, String)], token: &[u8]) -> Result<String, ServerError> {
    let refuse = |text: &str| Err(ServerError::BadCredentials(text.into()));
    // Cassandra reads the token from its end: the authorization id may be missing.
    let mut parts = token.rsplitn(3, |byte| *byte == 0);
    let (password, user) = (parts.next().unwrap_or_default(), parts.next());
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        return refuse("Authentication ID must not be null");
    };
    if password.is_empty() {
        return refuse("Password must not be null");
    }
    let user = String::from_utf8_lossy(user).into_owned();
    if users.iter().any(|(name, known)| *name == user && known.as_bytes() == password) {
        return Ok(user);
    }
    refuse(&format!("Provided username {user} and/or password are incorrect"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_opens() {
        let users = [("cassandra".to_owned(), "secret".to_owned())];
        assert_eq!(authenticate(&users, b"\0cassandra\0secret").as_deref(), Ok("cassandra"));
        assert_eq!(
            authenticate(&users, b"\0cassandra\0wrong"),
            Err(ServerError::BadCredentials("Provided username cassandra and/or password are incorrect".into()))
        );
        assert!(authenticate(&users, b"secret").is_err());
        assert!(authenticate(&users, b"\0cassandra\0").is_err());
    }
}
