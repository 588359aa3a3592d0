//! Known bugs, to see that the simulation would notice: each makes the world, the store or the
//! operator that the engine works with behave as if the engine had it. Nothing of this is in the
//! program itself.

/// Something that the engine must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The wait for health is skipped.
    SkipHealthWait,
    /// Unhealthy containers count as healthy.
    UnhealthyIsHealthy,
    /// The old containers are stopped before the new are started.
    StopOldFirst,
    /// What undoes a failed rollout is forgotten.
    ForgetUndo,
    /// A host that doesn't answer is taken for an empty one.
    UnknownIsAbsent,
    /// The second look, under the lock, is left out.
    SkipSecondLook,
    /// The lock is let go of as soon as the journal is open.
    DropLockEarly,
    /// A line of the journal is lost.
    LoseJournalLine,
    /// No release is put on record.
    ForgetRelease,
    /// The volumes of dropped services are destroyed unasked.
    DestroyVolumes,
    /// The routes are not switched.
    SkipRoute,
    /// Nothing goes back after a failure.
    ForgetFallback,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 12] = [
        Bug::SkipHealthWait,
        Bug::UnhealthyIsHealthy,
        Bug::StopOldFirst,
        Bug::ForgetUndo,
        Bug::UnknownIsAbsent,
        Bug::SkipSecondLook,
        Bug::DropLockEarly,
        Bug::LoseJournalLine,
        Bug::ForgetRelease,
        Bug::DestroyVolumes,
        Bug::SkipRoute,
        Bug::ForgetFallback,
    ];
}
