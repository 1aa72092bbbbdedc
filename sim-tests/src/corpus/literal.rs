//! Bind values as they are written in scripts: CQL literals, without a type yet.

/// A written value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// `null`
    Null,
    /// `unset`: the variable is left as it is (protocol v4 and later).
    Unset,
    /// `0x…`: for any type, these very bytes.
    Bytes(Vec<u8>),
    /// `'…'`
    Text(String),
    /// A number, a uuid, a duration, `true`, `false`, `NaN`: what stands there.
    Word(String),
    /// `[…]`
    List(Vec<Literal>),
    /// `(…)`
    Tuple(Vec<Literal>),
    /// `{…}` without colons; `{}` is also an empty map.
    Set(Vec<Literal>),
    /// `{… : …}`: a map, or a UDT if the keys are words.
    Map(Vec<(Literal, Literal)>),
}

/// The values of one execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// In the order of the markers.
    Positional(Vec<Literal>),
    /// By the markers' names.
    Named(Vec<(String, Literal)>),
}

/// Reads what follows `bind`.
///
/// # Errors
///
/// A sentence that says what cannot be understood.
pub fn values(text: &str) -> Result<Values, String> {
    let mut parser = Parser(text);
    if let Some(named) = parser.named() {
        return named.map(Values::Named);
    }
    let mut values = Vec::new();
    if !parser.is_at_end() {
        values.push(parser.literal()?);
        while parser.eat(',') {
            values.push(parser.literal()?);
        }
    }
    parser.end()?;
    Ok(Values::Positional(values))
}

struct Parser<'a>(&'a str);

impl Parser<'_> {
    /// `name: value, …`, if it begins like that.
    fn named(&mut self) -> Option<Result<Vec<(String, Literal)>, String>> {
        let (name, rest) = self.0.split_once(':')?;
        let is_name = |name: &str| {
            let mut bytes = name.bytes();
            bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_[]()".contains(&byte))
        };
        // A literal may begin with letters and contain a colon later, never directly after.
        if !is_name(name.trim()) || name.trim().len() != name.trim_start().len() {
            return None;
        }
        let mut name = name.trim().to_string();
        self.0 = rest;
        let mut values = Vec::new();
        loop {
            match self.literal() {
                Ok(literal) => values.push((name, literal)),
                Err(e) => return Some(Err(e)),
            }
            if !self.eat(',') {
                return Some(self.end().map(|()| values));
            }
            let Some((next, rest)) = self.0.split_once(':') else {
                return Some(Err("all values need a name, or none".into()));
            };
            name = next.trim().to_string();
            self.0 = rest;
        }
    }

    fn literal(&mut self) -> Result<Literal, String> {
        self.0 = self.0.trim_start();
        match self.0.chars().next() {
            None => Err("a value is missing at the end".into()),
            Some('\'') => self.text(),
            Some('[') => Ok(Literal::List(self.sequence('[', ']')?)),
            Some('(') => Ok(Literal::Tuple(self.sequence('(', ')')?)),
            Some('{') => self.braces(),
            Some(_) => self.word(),
        }
    }

    fn text(&mut self) -> Result<Literal, String> {
        let mut text = String::new();
        let mut rest = &self.0[1..];
        loop {
            let (part, after) = rest.split_once('\'').ok_or("a quote is not closed")?;
            text.push_str(part);
            match after.strip_prefix('\'') {
                Some(after) => {
                    text.push('\'');
                    rest = after;
                }
                None => {
                    self.0 = after;
                    return Ok(Literal::Text(text));
                }
            }
        }
    }

    fn sequence(&mut self, open: char, close: char) -> Result<Vec<Literal>, String> {
        self.expect(open)?;
        let mut values = Vec::new();
        if self.eat(close) {
            return Ok(values);
        }
        loop {
            values.push(self.literal()?);
            if self.eat(close) {
                return Ok(values);
            }
            self.expect(',')?;
        }
    }

    fn braces(&mut self) -> Result<Literal, String> {
        self.expect('{')?;
        if self.eat('}') {
            return Ok(Literal::Set(Vec::new()));
        }
        let first = self.literal()?;
        if !self.eat(':') {
            let mut values = vec![first];
            while !self.eat('}') {
                self.expect(',')?;
                values.push(self.literal()?);
            }
            return Ok(Literal::Set(values));
        }
        let mut entries = vec![(first, self.literal()?)];
        while !self.eat('}') {
            self.expect(',')?;
            let key = self.literal()?;
            self.expect(':')?;
            entries.push((key, self.literal()?));
        }
        Ok(Literal::Map(entries))
    }

    fn word(&mut self) -> Result<Literal, String> {
        let end = self.0.find(|c: char| c.is_whitespace() || ",:)]}".contains(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        Ok(match word {
            "" => return Err(format!("a value is missing before `{rest}`")),
            "null" => Literal::Null,
            "unset" => Literal::Unset,
            _ => match word.strip_prefix("0x") {
                Some(hex) => Literal::Bytes(bytes_of_hex(hex).ok_or(format!("`{word}` is no blob"))?),
                None => Literal::Word(word.into()),
            },
        })
    }

    fn eat(&mut self, wanted: char) -> bool {
        match self.0.trim_start().strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.eat(wanted) { Ok(()) } else { Err(format!("`{wanted}` is missing before `{}`", self.0)) }
    }

    fn is_at_end(&self) -> bool {
        self.0.trim().is_empty()
    }

    fn end(&self) -> Result<(), String> {
        if self.is_at_end() { Ok(()) } else { Err(format!("`{}` is too much", self.0.trim())) }
    }
}

/// The bytes that hexadecimal digits stand for.
#[must_use]
pub fn bytes_of_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Literal {
        Literal::Word(text.into())
    }

    #[test]
    fn positional_values_are_literals_separated_by_commas() {
        let parsed = values("1, 'it''s', null, unset, 0xCAFE, [1, 2], {a: 1}, {}, ('x', -1.5e3)").unwrap();
        let expected = vec![
            word("1"),
            Literal::Text("it's".into()),
            Literal::Null,
            Literal::Unset,
            Literal::Bytes(vec![0xca, 0xfe]),
            Literal::List(vec![word("1"), word("2")]),
            Literal::Map(vec![(word("a"), word("1"))]),
            Literal::Set(vec![]),
            Literal::Tuple(vec![Literal::Text("x".into()), word("-1.5e3")]),
        ];
        assert_eq!(parsed, Values::Positional(expected));
        assert_eq!(values(""), Ok(Values::Positional(vec![])));
    }

    #[test]
    fn named_values_have_a_name_before_a_colon() {
        let parsed = values("k: 1, v_2: {'a': 'b'}").unwrap();
        let map = Literal::Map(vec![(Literal::Text("a".into()), Literal::Text("b".into()))]);
        assert_eq!(parsed, Values::Named(vec![("k".into(), word("1")), ("v_2".into(), map)]));
    }

    #[test]
    fn what_is_no_literal_is_refused() {
        for text in ["1,", "'a", "[1", "{1: 2, 3}", "0xabc", "1 2", "k: 1, 2"] {
            assert!(values(text).is_err(), "{text}");
        }
    }
}
