//! Statements as they were written, before anything is looked up in a schema.

use std::collections::BTreeMap;

/// A possibly qualified name, unquoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The keyspace, if the text names it.
    pub keyspace: Option<String>,
    /// The table, type, index or function.
    pub name: String,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    Null,
    String(String),
    Integer(String),
    Float(String),
    Boolean(bool),
    Uuid(String),
    Blob(String),
    Duration(String),
    /// By index among all markers of the statement.
    Marker(usize),
    List(Vec<Term>),
    /// `{a, b}`; an empty one may be a map.
    Set(Vec<Term>),
    Map(Vec<(Term, Term)>),
    Udt(Vec<(String, Term)>),
    Tuple(Vec<Term>),
    /// A function, or the one behind an operator or CAST.
    Call(Name, Vec<Term>),
    /// `(type) term`.
    Cast(TypeName, Box<Term>),
    /// A column, where functions allow one (`writetime`, selections).
    Column(String),
}

/// A type as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeName {
    Named(Name),
    List(Box<TypeName>),
    Set(Box<TypeName>),
    Map(Box<TypeName>, Box<TypeName>),
    Tuple(Vec<TypeName>),
    Frozen(Box<TypeName>),
    Vector(Box<TypeName>, u16),
}

/// What SELECT selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Column(String),
    /// `count(*)` or `count(1)`.
    CountRows,
    /// `writetime`, `maxwritetime` or `ttl`.
    Meta(String, Box<Selector>),
    /// A function, or the one behind an operator.
    Call(Name, Vec<Selector>),
    /// With the name of a type without parameters.
    Cast(Box<Selector>, String),
    Field(Box<Selector>, String),
    Element(Box<Selector>, Term),
    /// `c[a..b]`; either bound may be missing.
    Slice(Box<Selector>, Option<Term>, Option<Term>),
    /// `(type) selector`.
    Hint(TypeName, Box<Selector>),
    List(Vec<Selector>),
    Set(Vec<Selector>),
    /// `{a: b}`: a map, or the fields of a user type.
    Entries(Vec<(Selector, Selector)>),
    /// A single one is in parentheses, or a tuple.
    Tuple(Vec<Selector>),
    /// A constant, null or a marker.
    Term(Term),
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// The right side of IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InValues {
    /// `(a, b, …)`.
    Terms(Vec<Term>),
    /// `IN ?`.
    Marker(usize),
}

/// One relation of WHERE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    Compare { column: String, op: Op, term: Term },
    In { column: String, values: InValues },
    Tuple { columns: Vec<String>, op: Op, term: Term },
    TupleIn { columns: Vec<String>, values: InValues },
    Token { columns: Vec<String>, op: Op, term: Term },
    Contains { column: String, key: bool, term: Term },
    Element { column: String, key: Term, op: Op, term: Term },
    NotNull(String),
    Like(String, Term),
}

/// `LIMIT n` or `LIMIT ?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    pub table: Name,
    pub is_json: bool,
    pub is_distinct: bool,
    /// Selectors with aliases; `None` is `*`.
    pub selectors: Option<Vec<(Selector, Option<String>)>>,
    pub relations: Vec<Relation>,
    pub group_by: Vec<Selector>,
    /// Column and whether descending.
    pub order_by: Vec<(String, bool)>,
    pub per_partition_limit: Option<Term>,
    pub limit: Option<Term>,
    pub allow_filtering: bool,
}

/// USING TTL and TIMESTAMP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Using {
    pub ttl: Option<Term>,
    pub timestamp: Option<Term>,
}

/// What a column of IF looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionPath {
    Whole,
    Element(Term),
    Field(String),
}

/// One condition of IF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub column: String,
    pub path: ConditionPath,
    pub test: ConditionTest,
}

/// How a condition compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionTest {
    Compare(Op, Term),
    /// CONTAINS, or CONTAINS KEY.
    Contains {
        key: bool,
        term: Term,
    },
    In(InValues),
}

/// The IF clause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum If {
    #[default]
    None,
    NotExists,
    Exists,
    Conditions(Vec<Condition>),
}

/// One assignment of SET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    Set(String, Term),
    Element(String, Term, Term),
    Field(String, String, Term),
    /// `c = c + term` or `c += term`.
    Add(String, Term),
    /// `c = c - term` or `c -= term`.
    Subtract(String, Term),
    /// `c = term + c`.
    Prepend(String, Term),
}

impl Assignment {
    /// The column it is about.
    #[must_use]
    pub fn column(&self) -> &str {
        match self {
            Self::Set(column, _)
            | Self::Element(column, ..)
            | Self::Field(column, ..)
            | Self::Add(column, _)
            | Self::Subtract(column, _)
            | Self::Prepend(column, _) => column,
        }
    }
}

/// What DELETE deletes; nothing named is the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    Column(String),
    Element(String, Term),
    Field(String, String),
}

/// The values of INSERT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InsertValues {
    Columns(Vec<(String, Term)>),
    Json { text: Term, default_unset: bool },
}

/// INSERT, UPDATE or DELETE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModificationKind {
    Insert(InsertValues),
    Update(Vec<Assignment>),
    Delete(Vec<Deletion>),
}

/// A statement that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modification {
    pub table: Name,
    pub kind: ModificationKind,
    pub using: Using,
    pub relations: Vec<Relation>,
    pub condition: If,
}

/// `BEGIN … BATCH … APPLY BATCH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub kind: super::BatchType,
    pub using: Using,
    pub statements: Vec<Modification>,
}

/// The value of a property of WITH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// A string, number or word.
    Simple(String),
    /// `{'a': 'b', …}`.
    Map(BTreeMap<String, String>),
}

/// Properties by lower-case name.
pub type Properties = Vec<(String, Property)>;

/// One column of CREATE TABLE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDefinition {
    pub name: String,
    pub type_name: TypeName,
    pub is_static: bool,
}

/// What a statement changes in the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ddl {
    CreateKeyspace {
        name: String,
        if_not_exists: bool,
        properties: Properties,
    },
    AlterKeyspace {
        name: String,
        if_exists: bool,
        properties: Properties,
    },
    DropKeyspace {
        name: String,
        if_exists: bool,
    },
    CreateTable {
        name: Name,
        if_not_exists: bool,
        columns: Vec<ColumnDefinition>,
        partition_key: Vec<String>,
        clustering: Vec<String>,
        /// Column and whether descending.
        order: Vec<(String, bool)>,
        compact: bool,
        properties: Properties,
    },
    AlterTable {
        name: Name,
        if_exists: bool,
        change: TableChange,
    },
    DropTable {
        name: Name,
        if_exists: bool,
    },
    CreateType {
        name: Name,
        if_not_exists: bool,
        fields: Vec<(String, TypeName)>,
    },
    AlterType {
        name: Name,
        if_exists: bool,
        change: TypeChange,
    },
    DropType {
        name: Name,
        if_exists: bool,
    },
    CreateIndex {
        name: Option<String>,
        if_not_exists: bool,
        table: Name,
        /// Column (empty: none is named) and `keys`, `values`, `entries` or `full` if it says so.
        target: (String, Option<String>),
        custom_class: Option<String>,
        options: BTreeMap<String, String>,
    },
    DropIndex {
        name: Name,
        if_exists: bool,
    },
    CreateFunction(Box<CreateFunction>),
    CreateAggregate(Box<CreateAggregate>),
    CreateView(Box<CreateView>),
    AlterView {
        name: Name,
        if_exists: bool,
        properties: Properties,
    },
    DropView {
        name: Name,
        if_exists: bool,
    },
    DropFunction {
        name: Name,
        /// The types of the arguments, if the text names them.
        arguments: Option<Vec<TypeName>>,
        if_exists: bool,
        is_aggregate: bool,
    },
}

/// CREATE MATERIALIZED VIEW.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateView {
    pub name: Name,
    pub if_not_exists: bool,
    pub base: Name,
    /// Selectors with aliases; `None` is `*`.
    pub selectors: Option<Vec<(Selector, Option<String>)>>,
    pub relations: Vec<Relation>,
    /// Whether there are bind markers, which are forbidden.
    pub has_markers: bool,
    pub partition_key: Vec<String>,
    pub clustering: Vec<String>,
    /// Column and whether descending.
    pub order: Vec<(String, bool)>,
    pub properties: Properties,
}

/// CREATE FUNCTION.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateFunction {
    pub name: Name,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub arguments: Vec<(String, TypeName)>,
    pub called_on_null_input: bool,
    pub return_type: TypeName,
    pub language: String,
    pub body: String,
}

/// CREATE AGGREGATE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateAggregate {
    pub name: Name,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub arguments: Vec<TypeName>,
    pub state_function: String,
    pub state_type: TypeName,
    pub final_function: Option<String>,
    pub initial: Option<Term>,
}

/// What ALTER TABLE does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableChange {
    Add {
        columns: Vec<ColumnDefinition>,
        if_not_exists: bool,
    },
    Drop {
        columns: Vec<String>,
        if_exists: bool,
        /// USING TIMESTAMP, in microseconds.
        timestamp: Option<i64>,
    },
    Rename {
        pairs: Vec<(String, String)>,
        if_exists: bool,
    },
    With(Properties),
}

/// What ALTER TYPE does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeChange {
    Add {
        field: String,
        type_name: TypeName,
        if_not_exists: bool,
    },
    Rename {
        pairs: Vec<(String, String)>,
        if_exists: bool,
    },
    /// ALTER of a field's type, which no release does any more.
    Alter,
}

/// What DESCRIBE describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Describe {
    Cluster,
    /// `full`: system keyspaces too.
    Schema {
        full: bool,
    },
    Keyspaces,
    Tables,
    Types,
    Functions,
    Aggregates,
    Keyspace {
        name: Option<String>,
        only: bool,
    },
    Table(Name),
    Type(Name),
    Index(Name),
    View(Name),
    Function(Name),
    Aggregate(Name),
    /// A bare name: keyspace, table, view or index.
    Anything(Name),
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Select(Box<Select>),
    Modify(Box<Modification>),
    Batch(Batch),
    Use(String),
    Truncate(Name),
    Ddl(Ddl),
    Describe { what: Describe, with_internals: bool },
}
