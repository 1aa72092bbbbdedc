//! What differs by nature in the server's texts, made equal by rule: ids of tables, identities of Java objects,
//! addresses of nodes. A masked place is visible in the golden file.

/// What comes before the overloads of a function: they are listed in an order that differs from start to start.
const SIGNATURES: [&str; 2] = ["(known type signatures: ", "(can be matched by following signatures: "];

/// A text with the native overloads that it lists in order of their text.
fn with_sorted_signatures(line: &str) -> Option<String> {
    let words = SIGNATURES.into_iter().find(|words| line.contains(words))?;
    let (before, rest) = line.split_once(words)?;
    let (listed, after) = rest.rsplit_once(')')?;
    let mut signatures: Vec<&str> = listed.strip_prefix("system.")?.split(", system.").collect();
    signatures.sort_unstable();
    Some(format!("{before}{words}system.{}){after}", signatures.join(", system.")))
}

/// Replaces uuids by `<uuid>`, `@1a2b3c4d` by `@<hash>`, `/10.0.0.1:7000` by `/<address>`, and the words of the
/// server's JSON parser by `<parser>`; the time at which DESCRIBE says that a column was dropped by `<now>`;
/// overloads are put in order.
#[must_use]
pub fn text(line: &str) -> String {
    if let Some(sorted) = with_sorted_signatures(line) {
        return sorted;
    }
    for words in JSON_PARSER {
        if let Some(at) = line.find(words) {
            return format!("{}<parser>", text(&line[..at]) + words);
        }
    }
    let bytes = line.as_bytes();
    let mut shown = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let follows_word = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
        if let Some(digits) = rest.strip_prefix(DROPPED_AT) {
            shown.push_str("USING TIMESTAMP ");
            let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
            shown.push_str(&clock(std::str::from_utf8(&digits[..end]).unwrap_or_default()));
            at += DROPPED_AT.len() + end;
        } else if !follows_word && is_uuid(rest) {
            shown.push_str("<uuid>");
            at += UUID_LEN;
        } else if rest[0] == b'@' && hex_len(&rest[1..]) >= HASH_LEN_MIN {
            shown.push_str("@<hash>");
            at += 1 + hex_len(&rest[1..]);
        } else if rest[0] == b'/' && address_len(&rest[1..]) > 0 {
            shown.push_str("/<address>");
            at += 1 + address_len(&rest[1..]);
        } else {
            let c = line[at..].chars().next().unwrap_or_default();
            shown.push(c);
            at += c.len_utf8();
        }
    }
    shown
}

/// Replaces the present, as microseconds since 1970, by `<now>`: write times that no statement has set.
#[must_use]
pub fn clock(value: &str) -> String {
    const DIGITS: usize = 16; // From 2001 to 2286.
    let mut shown = String::new();
    for part in value.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shown_digits = if digits.len() == DIGITS { "<now>" } else { digits };
        shown.push_str(shown_digits);
        shown.push_str(&part[digits.len()..]);
    }
    shown
}

/// Rounds times to live above 1,000 s up to whole hundreds: between write and read a second may have passed.
#[must_use]
pub fn lifetime(value: &str) -> String {
    let rounded = |seconds: u64| if seconds > 1000 { seconds.next_multiple_of(100) } else { seconds };
    let mut shown = String::new();
    for part in value.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        let seconds = digits.parse().map(|seconds| rounded(seconds).to_string());
        shown.push_str(&seconds.unwrap_or_else(|_| digits.to_owned()));
        shown.push_str(&part[digits.len()..]);
    }
    shown
}

/// Whether a warning is left out: the server gives this one at most once a minute, whoever asks.
#[must_use]
pub fn is_given_by_chance(warning: &str) -> bool {
    warning.starts_with("`USE <keyspace>` with prepared statements is considered to be an anti-pattern")
}

/// What comes before the words of the library that parses JSON: they are its own, and change with it.
const JSON_PARSER: [&str; 2] = ["Could not decode JSON string as a map: ", "Error decoding JSON string: "];

const DROPPED_AT: &[u8] = b"USING TIMESTAMP ";

const UUID_LEN: usize = 36;
const HASH_LEN_MIN: usize = 5;

fn is_uuid(bytes: &[u8]) -> bool {
    let Some(uuid) = bytes.get(..UUID_LEN) else { return false };
    let fits = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    uuid.iter().enumerate().all(fits) && !bytes.get(UUID_LEN).is_some_and(u8::is_ascii_alphanumeric)
}

fn hex_len(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte)).count()
}

/// The length of `1.2.3.4` or `1.2.3.4:5` at the front.
fn address_len(bytes: &[u8]) -> usize {
    let len = bytes.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let text = std::str::from_utf8(&bytes[..len]).unwrap_or_default();
    if text.parse::<std::net::Ipv4Addr>().is_err() {
        return 0;
    }
    let port = bytes[len..].strip_prefix(b":").unwrap_or_default();
    let digits = port.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { len } else { len + 1 + digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_to_live_are_rounded_and_short_ones_are_not() {
        assert_eq!(lifetime("[999999, 1000000, null, 86399]"), "[1000000, 1000000, null, 86400]");
        assert_eq!(lifetime("599"), "599");
    }

    #[test]
    fn only_what_differs_by_nature_is_masked() {
        assert_eq!(text("table 123e4567-e89b-12d3-a456-426614174000 is gone"), "table <uuid> is gone");
        assert_eq!(text("from /127.0.0.1:7000, /127.0.0.2"), "from /<address>, /<address>");
        assert_eq!(text("Term@1a2b3c4d"), "Term@<hash>");
        assert_eq!(text("DROP v USING TIMESTAMP 1795242594442000;"), "DROP v USING TIMESTAMP <now>;");
        assert_eq!(text("DROP v USING TIMESTAMP 5;"), "DROP v USING TIMESTAMP 5;");
        assert_eq!(
            text("none (known type signatures: system.f : (int) -> int, system.f : (bigint) -> int)!"),
            "none (known type signatures: system.f : (bigint) -> int, system.f : (int) -> int)!"
        );
        assert_eq!(clock("[1795242594442001, null, 1000]"), "[<now>, null, 1000]");
        for same in ["ä 1/2", "user@host", "12-34", "/1.2.3 x", ""] {
            assert_eq!(text(same), same);
        }
    }
}
