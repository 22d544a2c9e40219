//! Why updates are taken back.

/// What takes an update back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AbortCause {
    /// A person or a tool wrote it into the status.
    Person,
    /// An analysis failed or could not be measured.
    Analysis,
    /// An Experiment failed.
    Experiment,
    /// It made no progress for too long.
    Deadline,
}

impl AbortCause {
    /// Every cause.
    pub const ALL: [Self; 4] = [Self::Person, Self::Analysis, Self::Experiment, Self::Deadline];

    /// The value of the label `cause` of the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Analysis => "analysis",
            Self::Experiment => "experiment",
            Self::Deadline => "deadline",
        }
    }
}

/// Why an update is taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbortReason {
    /// What takes it back.
    pub cause: AbortCause,
    /// What people are told; empty when a user asked for it.
    pub text: String,
}
