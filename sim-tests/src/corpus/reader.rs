//! The protocol's notations, read from bytes.

use std::fmt;

/// Bytes that are not what the protocol says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Takes notations off the front of bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `count` bytes.
    ///
    /// # Errors
    ///
    /// Fewer are left; so everywhere below.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| Malformed(format!("{count} bytes are needed, {} are left", self.0.len())))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Malformed("length".into()))
    }

    /// `[byte]`
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// `[short]`
    pub fn short(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// `[int]`
    pub fn int(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// `[long]`
    pub fn long(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A count: an `[int]` that is not negative.
    pub fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.int()?;
        usize::try_from(count).map_err(|_| Malformed(format!("a count of {count}")))
    }

    /// `[string]`
    pub fn string(&mut self) -> Result<String, Malformed> {
        let len = usize::from(self.short()?);
        utf8(self.take(len)?)
    }

    /// `[long string]`
    pub fn long_string(&mut self) -> Result<String, Malformed> {
        let len = self.count()?;
        utf8(self.take(len)?)
    }

    /// `[string list]`
    pub fn string_list(&mut self) -> Result<Vec<String>, Malformed> {
        let count = self.short()?;
        (0..count).map(|_| self.string()).collect()
    }

    /// `[short bytes]`
    pub fn short_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::from(self.short()?);
        self.take(len)
    }

    /// `[bytes]`: `None` is null.
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match usize::try_from(self.int()?) {
            Ok(len) => self.take(len).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// `[unsigned vint]`
    pub fn unsigned_vint(&mut self) -> Result<u64, Malformed> {
        let first = self.byte()?;
        let more = first.leading_ones();
        let mut value = if more >= 7 { 0 } else { u64::from(first) & (0xff >> (more + 1)) };
        for _ in 0..more {
            value = value << 8 | u64::from(self.byte()?);
        }
        Ok(value)
    }

    /// `[vint]`
    pub fn vint(&mut self) -> Result<i64, Malformed> {
        let zigzag = self.unsigned_vint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// `[inetaddr]`: an address without a port.
    pub fn inet_addr(&mut self) -> Result<String, Malformed> {
        let len = self.byte()?;
        let bytes = self.take(usize::from(len))?;
        address(bytes).ok_or_else(|| Malformed(format!("an address of {len} bytes")))
    }
}

/// An IP address as text.
#[must_use]
pub fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|four| std::net::Ipv4Addr::from(four).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|sixteen| std::net::Ipv6Addr::from(sixteen).to_string()),
        _ => None,
    }
}

fn utf8(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|e| Malformed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vints_have_as_many_bytes_as_their_first_one_says() {
        assert_eq!(Reader(&[0x00]).unsigned_vint(), Ok(0));
        assert_eq!(Reader(&[0x7f]).unsigned_vint(), Ok(127));
        assert_eq!(Reader(&[0x80, 0x80]).unsigned_vint(), Ok(128));
        assert_eq!(Reader(&[0xff; 9]).unsigned_vint(), Ok(u64::MAX));
        assert_eq!(Reader(&[0x01]).vint(), Ok(-1));
        assert!(Reader(&[0x80]).unsigned_vint().is_err());
    }
}
