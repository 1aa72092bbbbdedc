//! How a cluster turns partition keys into tokens.

/// A partitioner, by the class that `system.local` names.
///
/// Requests are routed by token only with [`Partitioner::Murmur3`], the default since Cassandra 1.2. A cluster with
/// another partitioner is served as well, by any of its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// `Murmur3Partitioner`.
    #[default]
    Murmur3,
    /// Any other, such as `RandomPartitioner` or `ByteOrderedPartitioner`.
    Other,
}

impl Partitioner {
    /// Reads the class, with or without its package.
    #[must_use]
    pub fn from_class(class: &str) -> Self {
        match class.rsplit('.').next() {
            Some("Murmur3Partitioner") => Self::Murmur3,
            _ => Self::Other,
        }
    }
}
