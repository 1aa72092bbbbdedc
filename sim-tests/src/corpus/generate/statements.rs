//! The statements of a script: what writes, what reads, what changes the table.

use super::{Column, DECIMAL, Generator, Kind, SCALARS};

impl Generator {
    pub(super) fn using(&mut self, with_ttl: bool) -> String {
        match self.below(10) {
            0 => format!(" USING TIMESTAMP {}", 1 + self.below(5)),
            1 if with_ttl => " USING TTL 1000000".into(),
            2 if with_ttl => format!(" USING TTL 1000000 AND TIMESTAMP {}", self.below(5)),
            _ => String::new(),
        }
    }

    pub(super) fn insert(&mut self) -> String {
        let keys: Vec<Column> = self.partition.iter().chain(&self.clustering).cloned().collect();
        let mut columns = keys;
        if self.chance(3) {
            columns.remove(self.below(columns.len()));
        }
        for column in self.others.clone() {
            if self.chance(70) {
                columns.push(column);
            }
        }
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let names = names.join(", ");
        let values: Vec<String> = columns.iter().map(|column| self.value(&column.kind)).collect();
        let condition = if self.chance(10) { " IF NOT EXISTS" } else { "" };
        if self.chance(8) {
            return self.insert_json(condition);
        }
        format!("INSERT INTO t ({names}) VALUES ({}){condition}{}", values.join(", "), self.using(true))
    }

    pub(super) fn update(&mut self) -> String {
        let column = self.other_column();
        let mut set = self.assignment(&column);
        if self.chance(15) {
            let other = self.other_column();
            set = format!("{set}, {}", self.assignment(&other));
        }
        let mut place = self.key(false);
        if column.is_static && self.chance(70) {
            place = self.partition_key();
        }
        format!("UPDATE t{} SET {set} WHERE {place}{}", self.using(true), self.condition())
    }

    pub(super) fn condition(&mut self) -> String {
        if !self.chance(20) {
            return String::new();
        }
        if self.chance(30) {
            return " IF EXISTS".into();
        }
        let first = self.column_condition();
        if self.chance(20) {
            return format!(" IF {first} AND {}", self.column_condition());
        }
        format!(" IF {first}")
    }

    fn column_condition(&mut self) -> String {
        let column = self.other_column();
        let name = &column.name;
        let operator = self.pick(&["=", "=", "!=", "<", ">=", "IN"]);
        let (place, value) = match column.kind {
            Kind::List(of) | Kind::Set(of) if self.chance(25) => {
                return format!("{name} CONTAINS {}", self.scalar(of));
            }
            Kind::Map(key, _) if self.chance(20) => return format!("{name} CONTAINS KEY {}", self.scalar(key)),
            Kind::List(of) if self.chance(30) => (format!("{name}[{}]", self.below(2)), self.scalar(of)),
            Kind::Map(key, of) if self.chance(40) => (format!("{name}[{}]", self.scalar(key)), self.scalar(of)),
            Kind::Udt if self.chance(40) => (format!("{name}.y"), self.scalar(2)),
            _ => (name.clone(), self.value(&column.kind)),
        };
        let value = if operator == "IN" { format!("({value}, {value})") } else { value };
        format!("{place} {operator} {value}")
    }

    pub(super) fn delete(&mut self) -> String {
        let column = if self.chance(50) { self.other_column().name } else { String::new() };
        let using = self.using(false);
        let place = if column.is_empty() { self.key(true) } else { self.key(false) };
        let condition = if using.is_empty() { self.condition() } else { String::new() };
        format!("DELETE {column} FROM t{using} WHERE {place}{condition}").replace("DELETE  ", "DELETE ")
    }

    pub(super) fn batch(&mut self) -> String {
        let statements: Vec<String> = (0..1 + self.below(3))
            .map(|_| match self.below(10) {
                0..6 => self.insert(),
                6..9 => self.update(),
                _ => self.delete(),
            })
            .map(|statement| format!("{statement}; "))
            .collect();
        format!("BEGIN {}BATCH {}APPLY BATCH", self.pick(&["", "UNLOGGED "]), statements.concat())
    }

    pub(super) fn partition_key(&mut self) -> String {
        let columns = self.partition.clone();
        let parts: Vec<String> = columns.iter().map(|c| format!("{} = {}", c.name, self.value(&c.kind))).collect();
        parts.join(" AND ")
    }

    /// A primary key; with `may_stop`, perhaps only its beginning, perhaps with a slice at the end.
    pub(super) fn key(&mut self, may_stop: bool) -> String {
        let mut parts = vec![self.partition_key()];
        for column in self.clustering.clone() {
            if may_stop && self.chance(40) {
                if self.chance(50) {
                    let operator = self.pick(&["<", "<=", ">", ">="]);
                    parts.push(format!("{} {operator} {}", column.name, self.value(&column.kind)));
                }
                break;
            }
            if self.chance(10) {
                let values = [self.value(&column.kind), self.value(&column.kind)].join(", ");
                parts.push(format!("{} IN ({values})", column.name));
            } else {
                parts.push(format!("{} = {}", column.name, self.value(&column.kind)));
            }
        }
        parts.join(" AND ")
    }

    pub(super) fn select(&mut self) -> String {
        let column = self.any_column();
        let name = &column.name;
        let selected = match self.below(17) {
            0 => "count(*)".into(),
            1 => format!("max({name}), min({name})"),
            2 => format!("sum({name})"),
            3 => format!("writetime({name})"),
            4 => "JSON *".into(),
            5 => format!("to_json({name})"),
            6 => format!("CAST({name} AS text)"),
            7 => format!("token({})", self.partition.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")),
            8 => format!("DISTINCT {}", self.partition.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")),
            9 => format!("{name} AS x, count({name})"),
            10 => format!("{name}, ttl({name})"),
            11 => {
                let statics: Vec<&Column> = self.others.iter().filter(|column| column.is_static).collect();
                let name = statics.first().map_or(self.partition[0].name.as_str(), |column| column.name.as_str());
                format!(
                    "DISTINCT {}, {name}",
                    self.partition.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
                )
            }
            12 => format!("{name}, {}", self.any_column().name),
            _ => "*".into(),
        };
        let place = match self.below(8) {
            0 | 1 => String::new(),
            6 => format!(" WHERE {}", self.token_range()),
            7 if !self.clustering.is_empty() => {
                format!(" WHERE {} AND {}", self.partition_key(), self.tuple_relation())
            }
            2 => {
                let column = self.any_column();
                let operator = self.pick(&["=", "=", ">", "<=", "CONTAINS", "IN", "!="]);
                let value = self.value(&column.kind);
                let value = if operator == "IN" { format!("({value})") } else { value };
                format!(" WHERE {} {operator} {value}", column.name)
            }
            3 => format!(" WHERE {}", self.partition_key()),
            _ => format!(" WHERE {}", self.key(true)),
        };
        let mut tail = String::new();
        if self.chance(10) {
            let all = self.partition.iter().chain(&self.clustering).map(|column| column.name.clone());
            let all: Vec<String> = all.collect();
            let some = 1 + self.below(all.len());
            tail += &format!(" GROUP BY {}", all[..some].join(", "));
        }
        if !self.clustering.is_empty() && self.chance(20) {
            let direction = self.pick(&["ASC", "DESC"]);
            let columns = self.clustering.len().min(1 + self.below(2));
            let order: Vec<String> =
                self.clustering[..columns].iter().map(|column| format!("{} {direction}", column.name)).collect();
            tail += &format!(" ORDER BY {}", order.join(", "));
        }
        if self.chance(15) {
            tail += &format!(" PER PARTITION LIMIT {}", self.below(3));
        }
        if self.chance(20) {
            tail += &format!(" LIMIT {}", self.below(4));
        }
        if self.chance(60) {
            tail += " ALLOW FILTERING";
        }
        let page = if self.chance(15) { format!("--@ page {}\n", 1 + self.below(3)) } else { String::new() };
        format!("{page}SELECT {selected} FROM t{place}{tail}")
    }

    fn assignment(&mut self, column: &Column) -> String {
        let name = &column.name;
        let value = self.value(&column.kind);
        match column.kind {
            Kind::List(_) if self.chance(20) => format!("{name} = {value} + {name}"),
            Kind::List(_) | Kind::Set(_) | Kind::Map(..) if self.chance(50) => format!("{name} = {name} + {value}"),
            Kind::Map(key, _) if self.chance(20) => format!("{name} = {name} - {{{}}}", self.scalars(key)),
            Kind::Map(key, of) if self.chance(50) => format!("{name}[{}] = {}", self.scalar(key), self.scalar(of)),
            Kind::List(of) if self.chance(40) => format!("{name}[{}] = {}", self.below(3), self.scalar(of)),
            Kind::List(_) | Kind::Set(_) if self.chance(50) => format!("{name} = {name} - {value}"),
            Kind::Udt if self.chance(50) => format!("{name}.x = {}", self.scalar(0)),
            _ => format!("{name} = {value}"),
        }
    }

    /// A row as JSON, of keys and of columns whose JSON is easy to write.
    fn insert_json(&mut self, condition: &str) -> String {
        let keys = self.partition.iter().chain(&self.clustering).chain(&self.others);
        let columns: Vec<Column> = keys.cloned().collect();
        let mut parts = Vec::new();
        for column in columns {
            let value = match column.kind {
                Kind::Scalar(of @ (0 | 1 | 4 | 9 | 10)) => self.scalar(of),
                Kind::Scalar(2 | 3) => self.pick(&["\"a\"", "\"B\"", "\"\"", "5"]).into(),
                Kind::Udt => self.pick(&["{\"x\": 1}", "{\"y\": \"a\", \"x\": null}", "null"]).into(),
                _ if self.chance(97) => "null".into(),
                _ => self.pick(&["\"0\"", "[]"]).into(),
            };
            if value.contains('\'') {
                continue;
            }
            parts.push(format!("\"{}\": {value}", column.name));
        }
        let default = self.pick(&["", "", " DEFAULT UNSET", " DEFAULT NULL"]);
        format!("INSERT INTO t JSON '{{{}}}'{default}{condition}", parts.join(", "))
    }

    /// Something with counters.
    pub(super) fn counter(&mut self) -> String {
        let key = format!("k = {} AND c = {}", self.below(2), self.below(3));
        let (sign, amount) = (self.pick(&["+", "-"]), self.below(5));
        match self.below(8) {
            0 => format!("DELETE FROM n WHERE {key}"),
            1 => format!("UPDATE n SET s = s {sign} {amount} WHERE k = {}", self.below(2)),
            2 => format!(
                "BEGIN COUNTER BATCH UPDATE n SET n = n + 1 WHERE {key}; UPDATE n SET n = n {sign} 2 WHERE {key}; APPLY BATCH"
            ),
            3 => format!("SELECT sum(n), max(s) FROM n WHERE k = {}", self.below(2)),
            4 => format!("UPDATE n USING TTL 5 SET n = n + 1 WHERE {key}"),
            _ => format!("UPDATE n SET n = n {sign} {amount} WHERE {key}"),
        }
    }

    /// A statement that is prepared, and executed with values of its columns.
    pub(super) fn prepared(&mut self) -> String {
        let keys: Vec<Column> = self.partition.iter().chain(&self.clustering).cloned().collect();
        let place: Vec<String> = keys.iter().map(|column| format!("{} = ?", column.name)).collect();
        let place = place.join(" AND ");
        let other = self.other_column();
        let (text, columns) = match self.below(4) {
            0 => (format!("UPDATE t SET {} = ? WHERE {place}", other.name), [vec![other], keys].concat()),
            1 => (format!("DELETE {} FROM t WHERE {place}", other.name), keys),
            2 => (format!("SELECT {} FROM t WHERE {place}", other.name), keys),
            _ => {
                let columns = [keys, vec![other]].concat();
                let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                let markers = vec!["?"; names.len()].join(", ");
                (format!("INSERT INTO t ({}) VALUES ({markers})", names.join(", ")), columns)
            }
        };
        let mut lines = String::new();
        for _ in 0..1 + self.below(2) {
            let values: Vec<String> = columns.iter().map(|column| self.bound(&column.kind)).collect();
            lines += &format!("--@ bind {}\n", values.join(", "));
        }
        format!("--@ prepare\n{lines}{text}")
    }

    /// A value to bind: of the right type, null, unset or so many bytes.
    fn bound(&mut self, kind: &Kind) -> String {
        match self.below(40) {
            0 => "unset".into(),
            1 => "0x".into(),
            // A decimal of four bytes has no digits: as a key it makes a table of Cassandra's unusable.
            2 if !matches!(kind, Kind::Scalar(DECIMAL)) => "0x00000001".into(),
            _ => self.right_value(kind),
        }
    }

    fn right_value(&mut self, kind: &Kind) -> String {
        let mut right = |of: usize| {
            let values = SCALARS[of].1;
            values[self.below(values.len() - 1)].to_string()
        };
        match *kind {
            Kind::Scalar(of) => right(of),
            Kind::List(of) => format!("[{}, {}]", right(of), right(of)),
            Kind::Set(of) => format!("{{{}}}", right(of)),
            Kind::Map(key, of) => format!("{{{}: {}}}", right(key), right(of)),
            Kind::Tuple(first, second) => format!("({}, {})", right(first), right(second)),
            Kind::Udt => format!("{{x: {}, y: {}}}", right(0), right(2)),
        }
    }

    /// ALTER TABLE or TRUNCATE.
    pub(super) fn change_table(&mut self) -> String {
        let number = self.below(3);
        match self.below(6) {
            0 => "TRUNCATE t".into(),
            1 => format!("ALTER TABLE t DROP {}", self.any_column().name),
            2 => format!("ALTER TABLE t ADD {}", Column::declaration(&self.any_column())),
            3 => format!("ALTER TABLE t ADD IF NOT EXISTS a{number} text"),
            4 => format!("ALTER TABLE t DROP IF EXISTS a{number}"),
            _ => "ALTER TABLE t WITH comment = 'x' AND gc_grace_seconds = 100".into(),
        }
    }

    fn token_range(&mut self) -> String {
        let names = self.partition.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        let columns = self.partition.clone();
        let values: Vec<String> = columns.iter().map(|column| self.value(&column.kind)).collect();
        let operator = self.pick(&["<", "<=", ">", ">=", "="]);
        match self.below(3) {
            0 => format!("token({names}) {operator} token({})", values.join(", ")),
            1 => format!("token({names}) > -5000000000000000000 AND token({names}) <= 5000000000000000000"),
            _ => format!("token({names}) {operator} 0"),
        }
    }

    fn tuple_relation(&mut self) -> String {
        let columns = self.clustering.clone();
        let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        let mut tuple = || {
            let values: Vec<String> = columns.iter().map(|column| self.value(&column.kind)).collect();
            format!("({})", values.join(", "))
        };
        let (first, second) = (tuple(), tuple());
        match self.below(4) {
            0 => format!("({names}) IN ({first}, {second})"),
            1 => format!("({names}) > {first} AND ({names}) <= {second}"),
            _ => format!("({names}) {} {first}", self.pick(&["<", "<=", ">", ">=", "="])),
        }
    }
}
