//! Credentials: SASL exchanges with the node.

use std::fmt;
use std::net::SocketAddr;

/// Starts an authentication for each connection that asks for one.
pub trait Authenticator: Send + Sync {
    /// Starts one exchange with the node at `address`, whose authenticator is the Java class
    /// `server_class`.
    ///
    /// # Errors
    ///
    /// A sentence saying why these credentials cannot be used with that class.
    fn start(&self, server_class: &str, address: SocketAddr) -> Result<Box<dyn AuthExchange>, String>;
}

/// One exchange of tokens.
pub trait AuthExchange: Send {
    /// The first token sent to the node.
    fn initial_token(&mut self) -> Vec<u8>;

    /// Answers a challenge of the node.
    ///
    /// # Errors
    ///
    /// A sentence saying why the exchange cannot go on.
    fn answer(&mut self, challenge: &[u8]) -> Result<Vec<u8>, String>;

    /// Takes the node's last token, sent with its consent: the place to check a proof of the node's own identity.
    ///
    /// # Errors
    ///
    /// A sentence saying why the node is not to be trusted.
    fn finish(&mut self, _token: Option<&[u8]>) -> Result<(), String> {
        Ok(())
    }
}

/// User name and password, for the server's `PasswordAuthenticator`.
#[derive(Clone)]
pub struct PlainAuthenticator {
    username: String,
    password: String,
}

impl PlainAuthenticator {
    /// Credentials as they are; they travel in clear text unless the transport encrypts.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: password.into() }
    }

    fn token(&self) -> Vec<u8> {
        [b"\0", self.username.as_bytes(), b"\0", self.password.as_bytes()].concat()
    }
}

/// Says nothing about the credentials.
impl fmt::Debug for PlainAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainAuthenticator")
    }
}

impl Authenticator for PlainAuthenticator {
    fn start(&self, _server_class: &str, _address: SocketAddr) -> Result<Box<dyn AuthExchange>, String> {
        Ok(Box::new(self.clone()))
    }
}

impl AuthExchange for PlainAuthenticator {
    fn initial_token(&mut self) -> Vec<u8> {
        self.token()
    }

    fn answer(&mut self, _challenge: &[u8]) -> Result<Vec<u8>, String> {
        Err("the node sent a challenge, which user name and password cannot answer".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_user_name_and_password_after_zero_bytes() {
        assert_eq!(PlainAuthenticator::new("u", "pw").initial_token(), b"\0u\0pw");
    }
}
