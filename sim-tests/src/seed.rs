//! The name of a run: generator version, profile and 64 random bits, as in `g3-quick-7f3a9c21e4b80d56`.
//!
//! A seed means a plan only together with the generator that made it, so the version is part of the name and a seed
//! of another generator is refused instead of silently meaning something else. Plans outlive generators.

use serde::{Deserialize, Serialize};
use simcluster::entropy::Entropy;
use std::fmt;
use std::str::FromStr;

/// The version of the plan generator; it changes whenever a seed would generate another plan.
pub const GENERATOR_VERSION: u32 = 3;

/// What kind of runs a seed generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Three nodes, ten simulated seconds, light load: thousands of runs a minute.
    Quick,
    /// One to six nodes, twenty to forty simulated seconds, many overlapping faults.
    Chaos,
    /// Nodes join, leave and move.
    Topology,
    /// Tables change while statements run.
    Schema,
    /// Lightweight transactions under contention.
    Lwt,
    /// Hours of simulated time with long faults in them.
    Soak,
    /// Dozens of nodes, up to a hundred.
    Wide,
    /// Dozens of sessions, up to two hundred.
    Fleet,
}

impl Profile {
    /// Every profile, in the order of the documentation.
    pub const ALL: [Self; 8] =
        [Self::Quick, Self::Chaos, Self::Topology, Self::Schema, Self::Lwt, Self::Soak, Self::Wide, Self::Fleet];

    /// Its name on the command line and in seeds.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Chaos => "chaos",
            Self::Topology => "topology",
            Self::Schema => "schema",
            Self::Lwt => "lwt",
            Self::Soak => "soak",
            Self::Wide => "wide",
            Self::Fleet => "fleet",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, SeedError> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == text)
            .ok_or_else(|| SeedError::UnknownProfile(text.to_owned()))
    }
}

/// The name of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed {
    /// Which generator turns it into a plan.
    pub generator: u32,
    /// What kind of run.
    pub profile: Profile,
    /// The random bits.
    pub bits: u64,
}

impl Seed {
    /// A seed of this generator.
    #[must_use]
    pub const fn new(profile: Profile, bits: u64) -> Self {
        Self { generator: GENERATOR_VERSION, profile, bits }
    }

    /// The seed number `index` of the campaign that starts from `base`.
    #[must_use]
    pub fn derive(profile: Profile, base: u64, index: u64) -> Self {
        Self::new(profile, Entropy::new(base).draw("campaign seed", index, 0))
    }

    /// Checks that this generator made the seed.
    ///
    /// # Errors
    ///
    /// [`SeedError::OtherGenerator`], whose text says what to do instead.
    pub fn check(self) -> Result<Self, SeedError> {
        if self.generator != GENERATOR_VERSION {
            return Err(SeedError::OtherGenerator(self));
        }
        Ok(self)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}-{}-{:016x}", self.generator, self.profile, self.bits)
    }
}

impl FromStr for Seed {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, SeedError> {
        let malformed = || SeedError::Malformed(text.to_owned());
        let mut parts = text.splitn(3, '-');
        let (Some(generator), Some(profile), Some(bits)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed());
        };
        let generator = generator.strip_prefix('g').and_then(|n| n.parse().ok()).ok_or_else(malformed)?;
        let lower_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if bits.len() != 16 || !bits.bytes().all(lower_hex) {
            return Err(malformed());
        }
        let bits = u64::from_str_radix(bits, 16).map_err(|_| malformed())?;
        Ok(Self { generator, profile: profile.parse()?, bits })
    }
}

impl Serialize for Seed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a seed was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeedError {
    /// It does not look like a seed.
    Malformed(String),
    /// Its profile does not exist.
    UnknownProfile(String),
    /// Another generator made it.
    OtherGenerator(Seed),
}

impl fmt::Display for SeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) => {
                write!(f, "{text:?} is not a seed: seeds look like g{GENERATOR_VERSION}-quick-7f3a9c21e4b80d56")
            }
            Self::UnknownProfile(text) => {
                write!(f, "there is no profile {text:?}: use one of")?;
                for profile in Profile::ALL {
                    write!(f, " {profile}")?;
                }
                Ok(())
            }
            Self::OtherGenerator(seed) => write!(
                f,
                "{seed} belongs to generator {}, this is generator {GENERATOR_VERSION}: replay its plan file instead",
                seed.generator
            ),
        }
    }
}

impl std::error::Error for SeedError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_text_round_trips() {
        for text in ["g3-quick-7f3a9c21e4b80d56", "g1-chaos-0000000000000000", "g9-fleet-ffffffffffffffff"] {
            assert_eq!(text.parse::<Seed>().map(|seed| seed.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn malformed_seeds_are_refused_with_an_example() {
        for text in ["", "quick", "g1-quick", "g1-quick-12", "1-quick-7f3a9c21e4b80d56", "g1-quick-7F3A9C21E4B80D56"] {
            let error = text.parse::<Seed>().expect_err(text);
            assert!(error.to_string().contains("g3-quick-7f3a9c21e4b80d56"), "{error}");
        }
        assert!(matches!("g1-fast-7f3a9c21e4b80d56".parse::<Seed>(), Err(SeedError::UnknownProfile(_))));
    }

    #[test]
    fn seeds_of_other_generators_are_refused() {
        let other = Seed { generator: GENERATOR_VERSION + 1, profile: Profile::Quick, bits: 1 };
        assert_eq!(other.check(), Err(SeedError::OtherGenerator(other)));
        assert!(Seed::new(Profile::Quick, 1).check().is_ok());
    }

    #[test]
    fn derived_seeds_depend_on_base_and_index() {
        let seeds: std::collections::BTreeSet<_> =
            (0..100).flat_map(|i| [Seed::derive(Profile::Quick, 1, i), Seed::derive(Profile::Quick, 2, i)]).collect();
        assert_eq!(seeds.len(), 200);
    }
}
