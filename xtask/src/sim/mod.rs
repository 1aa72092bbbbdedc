//! `cargo xtask sim`: campaigns of seeds, and single runs told in full.

pub mod arguments;
mod campaign;
mod determinism;
mod planted;
mod single;

use crate::exit::{Exit, refuse};
use arguments::SimArguments;
use sim_tests::mutants::{self, PlantError};
use sim_tests::{Class, Outcome, Profile, Seed, SeedError};
use std::path::Path;

/// Does what the flags say.
pub fn run(root: &Path, arguments: &SimArguments) -> Exit {
    if let Some(id) = &arguments.mutant {
        if id == "list" {
            for mutant in mutants::MUTANTS {
                println!("{:42} {}", mutant.id, mutant.description);
            }
            return Exit::Pass;
        }
        match mutants::plant(Some(id)) {
            Ok(()) => {}
            Err(PlantError::NotCompiled) => return planted::run_in_a_build_with_planted_bugs(root),
            Err(e) => return refuse(&e.to_string(), Exit::Usage),
        }
    }
    let profile = match arguments.profile.parse::<Profile>().and_then(|p| Seed::new(p, 0).check().map(|_| p)) {
        Ok(profile) => profile,
        Err(e) => return refuse(&e.to_string(), Exit::Usage),
    };
    let exit = if arguments.check_determinism {
        determinism::check(root, arguments)
    } else if arguments.hashes {
        campaign::print_hashes(arguments, profile)
    } else if arguments.seed.is_some() || arguments.plan.is_some() {
        single::run(root, arguments, profile)
    } else {
        campaign::run(root, arguments, profile)
    };
    if arguments.expect_failure { expected_failure(exit) } else { exit }
}

/// For planted bugs: not finding one is the failure.
fn expected_failure(exit: Exit) -> Exit {
    match exit {
        Exit::Safety | Exit::Liveness | Exit::Panic | Exit::Leak => Exit::Pass,
        Exit::Pass => refuse("nothing failed, although a bug is planted: the laboratory is blind to it", Exit::Failed),
        other => other,
    }
}

/// A seed as the user may write it: a full name, or a number that needs a profile.
fn parse_seed(text: &str, profile: Profile) -> Result<Seed, SeedError> {
    let number = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    match number {
        Ok(bits) => Ok(Seed::new(profile, bits)),
        Err(_) => text.parse::<Seed>()?.check(),
    }
}

fn exit_of_seed_error(error: &SeedError) -> Exit {
    let exit = match error {
        SeedError::OtherGenerator(_) => Exit::OtherGenerator,
        _ => Exit::Usage,
    };
    refuse(&error.to_string(), exit)
}

fn exit_of(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Pass => Exit::Pass,
        Outcome::Failed(Class::Safety) => Exit::Safety,
        Outcome::Failed(Class::Liveness) => Exit::Liveness,
        Outcome::Failed(Class::Panic) => Exit::Panic,
        Outcome::Failed(Class::Leak) => Exit::Leak,
        Outcome::Failed(Class::Simulator) => Exit::SimulatorFault,
    }
}

/// The flags that a replay needs beside the seed or plan.
fn replay_flags(arguments: &SimArguments) -> String {
    arguments.mutant.as_ref().map(|id| format!(" --mutant {id}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_numbers_or_full_names() {
        assert_eq!(parse_seed("5", Profile::Chaos).unwrap().to_string(), "g3-chaos-0000000000000005");
        assert_eq!(parse_seed("0x1f", Profile::Quick).unwrap().to_string(), "g3-quick-000000000000001f");
        assert_eq!(parse_seed("g3-chaos-00000000000000aa", Profile::Quick).unwrap().profile, Profile::Chaos);
        assert!(parse_seed("what", Profile::Quick).is_err());
        assert!(matches!(parse_seed("g99-quick-00000000000000aa", Profile::Quick), Err(SeedError::OtherGenerator(_))));
    }

    #[test]
    fn a_planted_bug_that_nothing_finds_is_a_failure() {
        assert_eq!(expected_failure(Exit::Pass), Exit::Failed);
        assert_eq!(expected_failure(Exit::Safety), Exit::Pass);
        assert_eq!(expected_failure(Exit::Usage), Exit::Usage);
    }
}
