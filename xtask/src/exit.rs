//! Exit codes, the same for every subcommand; scripts may rely on them.

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything held.
    Pass,
    /// A step of `ci`, `tidy`, `serve` or `cassandra` failed.
    Failed,
    /// The command line or a plan file cannot be used.
    Usage,
    /// A safety invariant was violated.
    Safety,
    /// Something that had to happen did not.
    Liveness,
    /// The code under test panicked.
    Panic,
    /// Tasks, timers or sockets were left behind.
    Leak,
    /// A rare state that a campaign must reach was never reached.
    MarksMissing,
    /// One seed gave two traces.
    Nondeterminism,
    /// The simulator itself is at fault.
    SimulatorFault,
    /// The seed belongs to another generator version.
    OtherGenerator,
}

impl Exit {
    /// The process's exit status.
    pub fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Safety => 10,
            Self::Liveness => 11,
            Self::Panic => 12,
            Self::Leak => 13,
            Self::MarksMissing => 14,
            Self::Nondeterminism => 15,
            Self::SimulatorFault => 16,
            Self::OtherGenerator => 17,
        }
    }

    /// The exit a status stands for, if it is one of ours.
    pub fn from_code(code: i32) -> Option<Self> {
        const ALL: [Exit; 11] = [
            Exit::Pass,
            Exit::Failed,
            Exit::Usage,
            Exit::Safety,
            Exit::Liveness,
            Exit::Panic,
            Exit::Leak,
            Exit::MarksMissing,
            Exit::Nondeterminism,
            Exit::SimulatorFault,
            Exit::OtherGenerator,
        ];
        ALL.into_iter().find(|exit| i32::from(exit.code()) == code)
    }

    /// Pass, or the error's sentence on standard error.
    pub fn of(result: Result<(), String>) -> Self {
        result.map_or_else(|sentence| refuse(&sentence, Self::Failed), |()| Self::Pass)
    }
}

/// Says one sentence on standard error.
pub fn refuse(sentence: &str, exit: Exit) -> Exit {
    eprintln!("{sentence}");
    exit
}
