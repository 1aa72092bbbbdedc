//! CQL text into tokens, each with its place for error messages.

use crate::protocol::ServerError;
use crate::types::time::is_duration;

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Byte offsets of its text.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
}

/// What a token is; texts without their quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bare word in lower case: keyword or identifier.
    Word(String),
    QuotedName(String),
    String(String),
    Integer(String),
    Float(String),
    Uuid(String),
    /// Hex digits after 0x.
    Blob(String),
    Duration(String),
    Symbol(&'static str),
    End,
}

const SYMBOLS: &[&str] = &[
    "<=", ">=", "!=", "+=", "-=", "..", "(", ")", "[", "]", "{", "}", ",", ";", ":", ".", "*", "=", "<", ">", "+", "-",
    "/", "%", "?",
];

/// Splits a statement into tokens; the last is [`Kind::End`].
///
/// # Errors
///
/// [`ServerError::Syntax`] at a character that begins no token or a string that does not end.
pub fn tokenize(text: &str) -> Result<Vec<Token>, ServerError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = skip_blank(text, at);
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            tokens.push(Token { kind: Kind::End, start: at, end: at });
            return Ok(tokens);
        };
        let (kind, length) = if first == '\'' {
            let (string, length) = quoted(rest, '\'').ok_or_else(|| unclosed(text, "'"))?;
            (Kind::String(string), length)
        } else if first == '"' {
            let (name, length) = quoted(rest, '"').ok_or_else(|| unclosed(text, "\""))?;
            (Kind::QuotedName(name), length)
        } else if let Some(body) = rest.strip_prefix("$$") {
            let end = body.find("$$").ok_or_else(|| bad_character(text, at, "<EOF>"))?;
            (Kind::String(body[..end].to_owned()), end + 4)
        } else if let Some(uuid) = uuid_prefix(rest) {
            (Kind::Uuid(uuid.to_owned()), uuid.len())
        } else if begins_uuid(rest) {
            return Err(check_uuid(text, at).err().unwrap_or_else(|| bad_character(text, at, &first.to_string())));
        } else if let Some(length) = negative_iso_duration(rest) {
            (Kind::Duration(rest[..length].to_owned()), length)
        } else if let Some(unsigned) = rest.strip_prefix('-').filter(|r| r.starts_with(|c: char| c.is_ascii_digit())) {
            // The sign belongs to the number, unless there are blanks between them.
            let (kind, length) = number(unsigned);
            let signed = match kind {
                Kind::Integer(n) => Kind::Integer(format!("-{n}")),
                Kind::Float(n) => Kind::Float(format!("-{n}")),
                Kind::Duration(n) => Kind::Duration(format!("-{n}")),
                other => other,
            };
            (signed, length + 1)
        } else if first == '-' && rest[1..].starts_with(['i', 'I', 'n', 'N']) {
            check_negative_word(text, at)?;
            (Kind::Symbol("-"), 1)
        } else if first.is_ascii_digit() {
            let (kind, length) = number(rest);
            check_end_of_number(text, at, at + length, &kind)?;
            (kind, length)
        } else if first.is_ascii_alphabetic() {
            let mut length = word_length(rest);
            // `P0001-02-03T04:05:06`: the only kind of word with a `-` inside.
            if let Some(long) = rest.get(..ISO_ALTERNATIVE_LEN).filter(|long| long.starts_with(['P', 'p']))
                && length == 5
                && is_duration(long)
            {
                length = ISO_ALTERNATIVE_LEN;
            }
            let word = &rest[..length];
            let is_iso_duration = word.len() > 2 && word.starts_with(['P', 'p']) && is_duration(word);
            let kind =
                if is_iso_duration { Kind::Duration(word.to_owned()) } else { Kind::Word(word.to_ascii_lowercase()) };
            (kind, length)
        } else {
            if let Some(after) = rest.strip_prefix('!')
                && !after.starts_with('=')
            {
                let found = after.chars().next().map_or("<EOF>".to_owned(), |c| c.to_string());
                let at = place(text, at + 1);
                return Err(ServerError::Syntax(format!("{at} mismatched character '{found}' expecting '='")));
            }
            let symbol = SYMBOLS.iter().find(|s| rest.starts_with(**s));
            let symbol = symbol.ok_or_else(|| bad_character(text, at, &first.to_string()))?;
            (Kind::Symbol(symbol), symbol.len())
        };
        tokens.push(Token { kind, start: at, end: at + length });
        at += length;
    }
}

/// `line L:C` of a byte offset, counted as Cassandra does: lines from one, columns from zero.
#[must_use]
pub fn place(text: &str, at: usize) -> String {
    let before = &text[..at.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    format!("line {line}:{column}")
}

/// Where the blanks and comments between two tokens begin: each run of blanks and each comment is one.
#[must_use]
pub fn hidden(text: &str, gap: std::ops::Range<usize>) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = gap.start;
    while at < gap.end {
        starts.push(at);
        let rest = &text[at..gap.end];
        let length = if rest.starts_with("--") || rest.starts_with("//") {
            rest.find('\n').map_or(rest.len(), |i| i + 1)
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |i| i + 2)
        } else {
            rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len())
        };
        at += length.max(1);
    }
    starts
}

/// A text whose closing quote is missing.
fn unclosed(text: &str, quote: &str) -> ServerError {
    ServerError::Syntax(format!("{} mismatched character '<EOF>' expecting '{quote}'", place(text, text.len())))
}

fn bad_character(text: &str, at: usize, character: &str) -> ServerError {
    ServerError::Syntax(format!("{} no viable alternative at character '{character}'", place(text, at)))
}

fn skip_blank(text: &str, mut at: usize) -> usize {
    loop {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start().len();
        at += blank;
        let rest = &text[at..];
        let comment = if rest.starts_with("--") || rest.starts_with("//") {
            rest.find('\n').map_or(rest.len(), |i| i + 1)
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |i| i + 2)
        } else {
            return at;
        };
        at += comment;
    }
}

/// The content of a quoted text, doubled quotes made single, and its length with quotes.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            out.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            out.push(c);
            chars.next();
        } else {
            return Some((out, at + 1));
        }
    }
    None
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// The length of `P0001-02-03T04:05:06`.
const ISO_ALTERNATIVE_LEN: usize = 20;

fn uuid_prefix(text: &str) -> Option<&str> {
    let candidate = text.get(..36)?;
    let hex = candidate.char_indices().all(|(i, c)| match i {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_hexdigit(),
    });
    hex.then_some(candidate)
}

/// Eight hexadecimal digits before a `-`: nothing but a UUID begins like that.
fn begins_uuid(text: &str) -> bool {
    text.as_bytes().get(8) == Some(&b'-') && text.as_bytes()[..8].iter().all(u8::is_ascii_hexdigit)
}

/// The length of `-P1Y2M` or the like at the front.
fn negative_iso_duration(rest: &str) -> Option<usize> {
    let unsigned = rest.strip_prefix('-').filter(|r| r.starts_with(['P', 'p']))?;
    let long = unsigned.get(..ISO_ALTERNATIVE_LEN).filter(|long| is_duration(long));
    let word = long.unwrap_or(&unsigned[..word_length(unsigned)]);
    (word.len() > 2 && is_duration(word)).then_some(1 + word.len())
}

/// A letter directly behind `-` is taken for the beginning of `-infinity` or `-nan`.
fn check_negative_word(text: &str, at: usize) -> Result<(), ServerError> {
    let word = if text[at + 1..].starts_with(['i', 'I']) { "infinity" } else { "nan" };
    let mut found = text[at + 1..].char_indices();
    for expected in word.chars() {
        let next = found.next();
        if next.is_none_or(|(_, c)| !c.eq_ignore_ascii_case(&expected)) {
            let shown = next.map_or("<EOF>".to_owned(), |(_, c)| c.to_string());
            let at = place(text, next.map_or(text.len(), |(offset, _)| at + 1 + offset));
            return Err(ServerError::Syntax(format!("{at} mismatched character '{shown}' expecting set null")));
        }
    }
    Ok(())
}

/// Digits that go on with a letter from a to f are read as a UUID, and refused where they stop being one.
fn check_end_of_number(text: &str, start: usize, end: usize, kind: &Kind) -> Result<(), ServerError> {
    let is_hex_letter = |c: char| c.is_ascii_hexdigit() && !c.is_ascii_digit();
    if !matches!(kind, Kind::Integer(_)) || !text[end..].starts_with(is_hex_letter) {
        return Ok(());
    }
    check_uuid(text, start)
}

/// # Errors
///
/// Syntax, where the text stops being a UUID.
fn check_uuid(text: &str, start: usize) -> Result<(), ServerError> {
    for (index, (offset, c)) in
        text[start..].char_indices().map(|(o, c)| (o, Some(c))).chain([(text.len() - start, None)]).enumerate()
    {
        let wants_dash = matches!(index, 8 | 13 | 18 | 23);
        let fits = c.is_some_and(|c| if wants_dash { c == '-' } else { c.is_ascii_hexdigit() });
        if !fits {
            let found = c.map_or("<EOF>".to_owned(), |c| c.to_string());
            let expected = if wants_dash { "'-'" } else { "set null" };
            let at = place(text, start + offset);
            return Err(ServerError::Syntax(format!("{at} mismatched character '{found}' expecting {expected}")));
        }
    }
    Ok(())
}

fn number(text: &str) -> (Kind, usize) {
    let run = word_length(text);
    let word = &text[..run];
    if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        let length = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        return (Kind::Blob(digits[..length].to_owned()), 2 + length);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    // A µ is not a word character; it appears only in durations.
    let long = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    if long > digits && is_duration(&text[..long]) {
        return (Kind::Duration(text[..long].to_owned()), long);
    }
    let mut end = digits;
    let mut is_float = false;
    if text[end..].starts_with('.') && !text[end..].starts_with("..") {
        is_float = true;
        end += 1;
        end += text[end..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - end);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        let from = end + 1 + sign;
        let exponent = text[from..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - from);
        if exponent > 0 {
            is_float = true;
            end = from + exponent;
        }
    }
    let kind = if is_float { Kind::Float(text[..end].to_owned()) } else { Kind::Integer(text[..end].to_owned()) };
    (kind, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_token_is_recognised() {
        let kinds = |text: &str| tokenize(text).expect("tokens").into_iter().map(|t| t.kind).collect::<Vec<_>>();
        assert_eq!(
            kinds(
                "Select \"A\"\"b\" 'it''s' 12 1.5e3 0xFF 1y2mo -- c\n /* d */ >= 756716f7-2e54-4715-9f00-91dcbea6cf50"
            ),
            vec![
                Kind::Word("select".into()),
                Kind::QuotedName("A\"b".into()),
                Kind::String("it's".into()),
                Kind::Integer("12".into()),
                Kind::Float("1.5e3".into()),
                Kind::Blob("FF".into()),
                Kind::Duration("1y2mo".into()),
                Kind::Symbol(">="),
                Kind::Uuid("756716f7-2e54-4715-9f00-91dcbea6cf50".into()),
                Kind::End,
            ]
        );
    }

    #[test]
    fn unfinished_texts_are_syntax_errors_and_never_panic() {
        for text in ["'abc", "\"abc", "$$x", "SELECT ^", "é", "1.é", "0xé", "1é"] {
            let _ = tokenize(text);
        }
        assert!(tokenize("'abc").is_err());
        assert_eq!(place("a\nbc", 3), "line 2:1");
    }
}
