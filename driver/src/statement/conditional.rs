//! Recognises lightweight transactions in CQL text.
//!
//! Light on purpose: it only has to be right for statements the server accepts, where `IF` outside quotes and
//! comments of an INSERT, UPDATE, DELETE or batch is always a condition, because the word is reserved.

/// Whether `text` is a conditional write.
pub(crate) fn is_conditional(text: &str) -> bool {
    let mut words = Words { rest: text };
    let is_write = words.next().is_some_and(|first| {
        ["insert", "update", "delete", "begin"].iter().any(|write| first.eq_ignore_ascii_case(write))
    });
    is_write && words.any(|word| word.eq_ignore_ascii_case("if"))
}

/// The words outside string literals, quoted names, dollar-quoted bodies and comments.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let first = self.rest.chars().next()?;
            if first.is_alphanumeric() || first == '_' {
                let len = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(len);
                self.rest = rest;
                return Some(word);
            }
            let skipped = [("--", "\n"), ("//", "\n"), ("/*", "*/"), ("$$", "$$"), ("'", "'"), ("\"", "\"")]
                .iter()
                .find(|(open, _)| self.rest.starts_with(open));
            self.rest = match skipped {
                // A doubled quote ends one literal and begins the next, which skips the same text.
                Some((open, close)) => self.rest[open.len()..].split_once(close).map_or("", |(_, rest)| rest),
                None => &self.rest[first.len_utf8()..],
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_found_only_outside_quotes_and_comments() {
        for (text, expected) in [
            ("INSERT INTO t (k) VALUES (?) IF NOT EXISTS", true),
            ("update t set v = 1 where k = 1 if v = 2", true),
            ("BEGIN BATCH UPDATE t SET v=1 WHERE k=1 IF v=2; APPLY BATCH", true),
            ("/* c */ DELETE FROM t WHERE k = ? IF EXISTS", true),
            ("INSERT INTO t (k) VALUES ('it''s if')", false),
            ("INSERT INTO t (\"if\") VALUES (1) -- if", false),
            ("CREATE TABLE IF NOT EXISTS t (k int PRIMARY KEY)", false),
            ("SELECT * FROM gif WHERE k = 1", false),
            ("", false),
        ] {
            assert_eq!(is_conditional(text), expected, "{text}");
        }
    }
}
