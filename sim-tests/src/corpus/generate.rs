//! Scripts from seeds: schemas, statements and values, valid and slightly wrong.
//!
//! What is drawn has a definite answer: no clock, no random function, no expiring TTL. Values come from small pools, so
//! that reads find what writes wrote and conditions are met about as often as not.

mod statements;

use super::script::Script;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The script of a seed; always the same for the same seed.
#[must_use]
pub fn script(seed: u64) -> Script {
    let statements = Generator::new(seed).statements();
    from_statements(seed, &statements)
}

/// A script of these statements, for the keyspace of this seed.
#[must_use]
pub fn from_statements(seed: u64, statements: &[String]) -> Script {
    let text: String = statements.iter().map(|statement| format!("{statement};\n")).collect();
    // Statements are generated without quotes left open or semicolons inside.
    Script::parse("differ", &format!("seed{seed}"), &text).unwrap_or_else(|_| Script {
        category: "differ".into(),
        name: format!("seed{seed}"),
        summary: String::new(),
        steps: Vec::new(),
    })
}

/// How many statements follow the schema.
const STATEMENTS: usize = 40;

/// Types of keys and plain columns with values of them; the last value of each is wrong.
const SCALARS: [(&str, &[&str]); 19] = [
    ("int", &["0", "1", "2", "-1", "2147483647", "2147483648"]),
    ("bigint", &["0", "1", "-9223372036854775808", "7", "9223372036854775808"]),
    ("text", &["'a'", "'b'", "''", "'it''s'", "'ž'", "5"]),
    ("ascii", &["'a'", "'B'", "''", "'ž'"]),
    ("boolean", &["true", "false", "'true'"]),
    ("double", &["1.5", "-0.0", "NaN", "1e10", "3", "'x'"]),
    ("float", &["2.5", "-Infinity", "0.1", "7", "true"]),
    ("decimal", &["1.50", "-0.05", "100", "1e3", "'x'"]),
    ("varint", &["123456789012345678901234567890", "-1", "0", "1.5"]),
    ("smallint", &["5", "-5", "32767", "32768"]),
    ("tinyint", &["5", "-5", "127", "128"]),
    ("blob", &["0x", "0xcafe", "0x00ff", "'x'"]),
    ("uuid", &["123e4567-e89b-12d3-a456-426614174000", "00000000-0000-4000-8000-000000000001", "'x'"]),
    ("timeuuid", &["123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-42d3-a456-426614174000"]),
    ("inet", &["'127.0.0.1'", "'::1'", "'x'"]),
    ("date", &["'2024-02-29'", "'1969-12-31'", "'2024-02-30'"]),
    ("timestamp", &["'2024-02-29T12:34:56.789Z'", "0", "-1", "'x'"]),
    ("time", &["'12:34:56'", "'00:00:00.000000001'", "0", "'25:00:00'"]),
    ("duration", &["1d", "2h30m", "-1mo2d", "PT5S", "'x'"]),
];

/// The place of decimals among the scalar types.
const DECIMAL: usize = 7;

/// Which of the scalar types no key and no set can have.
const DURATION: usize = 18;

#[derive(Clone, Debug)]
enum Kind {
    Scalar(usize),
    List(usize),
    Set(usize),
    Map(usize, usize),
    Tuple(usize, usize),
    Udt,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    kind: Kind,
    is_frozen: bool,
    is_static: bool,
}

struct Generator {
    runner: TestRunner,
    partition: Vec<Column>,
    clustering: Vec<Column>,
    others: Vec<Column>,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &key);
        let runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
        let mut generator = Self { runner, partition: Vec::new(), clustering: Vec::new(), others: Vec::new() };
        generator.draw_columns();
        generator
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        // A range rejects nothing, so that a tree always comes.
        (0..bound.max(1)).new_tree(&mut self.runner).map_or(0, |tree| tree.current())
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn draw_columns(&mut self) {
        for number in 0..1 + self.below(2) {
            let column = self.key_column(format!("k{number}"));
            self.partition.push(column);
        }
        for number in 0..self.below(3) {
            let column = self.key_column(format!("c{number}"));
            self.clustering.push(column);
        }
        for number in 0..2 + self.below(4) {
            let kind = self.kind();
            let is_frozen = self.chance(30);
            let is_static = !self.clustering.is_empty() && self.chance(25);
            self.others.push(Column { name: format!("v{number}"), kind, is_frozen, is_static });
        }
    }

    fn key_column(&mut self, name: String) -> Column {
        let kind = if self.chance(85) { Kind::Scalar(self.below(DURATION)) } else { self.kind() };
        // A key without durations, so that the table comes to be.
        let kind = match kind {
            Kind::List(of) => Kind::List(of % DURATION),
            Kind::Map(key, of) => Kind::Map(key, of % DURATION),
            Kind::Tuple(first, second) => Kind::Tuple(first % DURATION, second % DURATION),
            kind => kind,
        };
        Column { name, kind, is_frozen: true, is_static: false }
    }

    fn kind(&mut self) -> Kind {
        let scalar = self.below(SCALARS.len());
        match self.below(12) {
            0 => Kind::List(scalar),
            1 => Kind::Set(scalar % DURATION),
            2 => Kind::Map(scalar % DURATION, self.below(SCALARS.len())),
            3 => Kind::Tuple(scalar, self.below(SCALARS.len())),
            4 => Kind::Udt,
            _ => Kind::Scalar(scalar),
        }
    }

    fn statements(&mut self) -> Vec<String> {
        let mut statements = vec![
            "CREATE TYPE u (x int, y text)".to_string(),
            self.create_table(),
            "CREATE TABLE n (k int, c int, n counter, s counter static, PRIMARY KEY (k, c))".to_string(),
        ];
        if self.chance(30) {
            let column = self.any_column();
            statements.push(format!("CREATE INDEX i ON t ({})", column.name));
        }
        for _ in 0..STATEMENTS {
            let statement = match self.below(24) {
                0..8 => self.insert(),
                8..11 => self.update(),
                11..13 => self.delete(),
                13 => self.batch(),
                14 => self.counter(),
                15 => self.prepared(),
                16 if self.chance(30) => self.change_table(),
                _ => self.select(),
            };
            statements.push(statement);
        }
        statements.push("SELECT * FROM t".into());
        statements.push("SELECT * FROM n".into());
        statements
    }

    fn create_table(&mut self) -> String {
        let all = self.partition.iter().chain(&self.clustering).chain(&self.others);
        let columns: Vec<String> = all.map(Column::declaration).collect();
        let names = |columns: &[Column]| columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>().join(", ");
        let mut key = format!("({})", names(&self.partition));
        if !self.clustering.is_empty() {
            key = format!("{key}, {}", names(&self.clustering));
        }
        let mut table = format!("CREATE TABLE t ({}, PRIMARY KEY ({key}))", columns.join(", "));
        if !self.clustering.is_empty() && self.chance(40) {
            let order = |column: &Column, direction: &str| format!("{} {direction}", column.name);
            let directions: Vec<&str> = (0..self.clustering.len()).map(|_| self.pick(&["ASC", "DESC"])).collect();
            let orders: Vec<String> = self.clustering.iter().zip(directions).map(|(c, d)| order(c, d)).collect();
            table += &format!(" WITH CLUSTERING ORDER BY ({})", orders.join(", "));
        }
        table
    }

    fn any_column(&mut self) -> Column {
        let all: Vec<Column> = self.partition.iter().chain(&self.clustering).chain(&self.others).cloned().collect();
        all[self.below(all.len())].clone()
    }

    fn other_column(&mut self) -> Column {
        let number = self.below(self.others.len());
        self.others[number].clone()
    }

    fn scalar(&mut self, kind: usize) -> String {
        let values = SCALARS[kind].1;
        // The wrong value is rare, so that most statements do something.
        let bound = if self.chance(2) { values.len() } else { values.len() - 1 };
        values[self.below(bound)].to_string()
    }

    fn value(&mut self, kind: &Kind) -> String {
        if self.chance(3) {
            return "null".into();
        }
        match *kind {
            Kind::Scalar(of) => self.scalar(of),
            Kind::List(of) => format!("[{}]", self.scalars(of)),
            Kind::Set(of) => format!("{{{}}}", self.scalars(of)),
            Kind::Map(key, of) => {
                let entries: Vec<String> =
                    (0..self.below(2)).map(|_| format!("{}: {}", self.scalar(key), self.scalar(of))).collect();
                format!("{{{}}}", entries.join(", "))
            }
            Kind::Tuple(first, second) => format!("({}, {})", self.scalar(first), self.scalar(second)),
            Kind::Udt => match self.below(3) {
                0 => format!("{{x: {}, y: {}}}", self.scalar(0), self.scalar(2)),
                1 => format!("{{y: {}}}", self.scalar(2)),
                _ => format!("{{x: {}}}", self.scalar(0)),
            },
        }
    }

    fn scalars(&mut self, of: usize) -> String {
        let values: Vec<String> = (0..self.below(4)).map(|_| self.scalar(of)).collect();
        values.join(", ")
    }
}

impl Column {
    fn declaration(&self) -> String {
        let scalar = |of: usize| SCALARS[of].0;
        let of = match self.kind {
            Kind::Scalar(of) => scalar(of).to_string(),
            Kind::List(of) => format!("list<{}>", scalar(of)),
            Kind::Set(of) => format!("set<{}>", scalar(of)),
            Kind::Map(key, of) => format!("map<{}, {}>", scalar(key), scalar(of)),
            Kind::Tuple(first, second) => format!("tuple<{}, {}>", scalar(first), scalar(second)),
            Kind::Udt => "u".into(),
        };
        let is_whole = matches!(self.kind, Kind::Scalar(_) | Kind::Tuple(..));
        let of = if self.is_frozen && !is_whole { format!("frozen<{of}>") } else { of };
        format!("{} {of}{}", self.name, if self.is_static { " static" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_script_always_and_another_seed_another_one() {
        assert_eq!(script(7), script(7));
        assert_ne!(script(7).steps, script(8).steps);
    }

    #[test]
    fn every_seed_makes_a_whole_script() {
        for seed in 0..200 {
            assert!(script(seed).steps.len() > STATEMENTS, "seed {seed}");
        }
    }
}
