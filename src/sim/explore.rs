//! Every interleaving of a small world: at each event and before each write, each fault and each action may happen, up to a
//! number of them in all. States are told apart by their fingerprint, so that a world is gone through once.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use super::faults::Faults;
use super::script::{Line, Statement, parse};
use super::simulation::{Happening, Simulation};
use super::users::Files;
use super::{ScenarioError, judge};
use crate::rollout;
use crate::units::Timestamp;

/// A small world: how it begins, and what may happen in it.
#[derive(Clone, Debug)]
pub struct World<'a> {
    /// Statements that are carried out one after the other, each once everything is at rest.
    pub begins: &'a str,
    /// Statements, one a line, of which any may happen at any moment.
    pub actions: &'a str,
    /// How many faults and actions may happen in all.
    pub budget: u8,
    /// How many states are looked at before it is enough.
    pub most_states: usize,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// States that differ.
    pub states: usize,
    /// Ways from one state to another.
    pub moves: usize,
    /// States in which nothing more happens by itself.
    pub rests: usize,
    /// Whether every state was looked at.
    pub is_complete: bool,
    /// What should not have happened, and the way there.
    pub violation: Option<String>,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Choice {
    /// The next event.
    Event,
    /// The next event, with a fault at one of its writes.
    Fault(Faults, &'static str, u32),
    /// A statement.
    Act(usize),
}

/// A state and the choice to make in it. The way there is told from the last choice to the first.
struct Task {
    from: Rc<Simulation>,
    choice: Choice,
    left: u8,
    /// Whether pods died or the route was rewritten, so that shares need not have pods.
    is_rough: bool,
    way: Option<Rc<Way>>,
}

struct Way {
    at: Timestamp,
    what: String,
    before: Option<Rc<Self>>,
}

struct Explorer<'a> {
    actions: Vec<Line>,
    files: &'a Files<'a>,
    /// The most that was left to happen when a state was looked at.
    seen: BTreeMap<(u64, bool), u8>,
    tasks: Vec<Task>,
    found: Explored,
}

/// Goes through a world.
///
/// # Errors
/// When a script cannot be read.
pub fn explore(world: &World<'_>, files: &Files<'_>) -> Result<Explored, ScenarioError> {
    let mut start = Simulation::new();
    for line in parse(world.begins)? {
        while start.next_event().is_some() {
            start.turn(Timestamp::from_millis(i64::MAX));
        }
        carry_out(&mut start, &line.statement, files);
    }
    let actions = parse(world.actions)?;
    let mut explorer =
        Explorer { actions, files, seen: BTreeMap::new(), tasks: Vec::new(), found: Explored::default() };
    explorer.arrive(start, world.budget, false, None);
    while let Some(task) = explorer.tasks.pop() {
        if explorer.found.violation.is_some() || explorer.found.states >= world.most_states {
            return Ok(explorer.found);
        }
        explorer.go(task);
    }
    explorer.found.is_complete = explorer.found.violation.is_none();
    Ok(explorer.found)
}

impl Explorer<'_> {
    fn go(&mut self, task: Task) {
        self.found.moves += 1;
        let mut next = (*task.from).clone();
        let before = judge::Pods::of(&next);
        let (mut left, mut is_rough) = (task.left, task.is_rough);
        let what = match &task.choice {
            Choice::Event => None,
            Choice::Fault(faults, name, at) => {
                left -= 1;
                next.controller.faults = *faults;
                Some(format!("{name} write {}", at + 1))
            }
            Choice::Act(number) => {
                left -= 1;
                let Some(line) = self.actions.get(*number) else { return };
                is_rough = is_rough || judge::is_rough(&line.statement);
                carry_out(&mut next, &line.statement, self.files);
                Some(line.text.clone())
            }
        };
        let mut happening = None;
        if !matches!(task.choice, Choice::Act(_)) {
            happening = next.turn(Timestamp::from_millis(i64::MAX));
            next.controller.faults = Faults::default();
        }
        let way = match what {
            None => task.way,
            Some(what) => Some(Rc::new(Way { at: task.from.now(), what, before: task.way })),
        };
        if let Some(wrong) = judge::moved(&before, &next, happening.as_ref(), is_rough) {
            self.wrong(&wrong, &next, way.as_deref());
            return;
        }
        // How many writes there are is only known once they were made.
        if let (Choice::Event, Some(Happening::Pass(_))) = (&task.choice, &happening)
            && task.left > 0
        {
            let total = |simulation: &Simulation| simulation.controller.writes().values().sum::<u64>();
            let writes = u32::try_from(total(&next) - total(&task.from)).unwrap_or(u32::MAX);
            self.fail_each(&task.from, writes, (task.left, task.is_rough), way.as_ref());
        }
        self.arrive(next, left, is_rough, way.as_ref());
    }

    /// Each write of a pass fails in each way.
    fn fail_each(
        &mut self,
        from: &Rc<Simulation>,
        writes: u32,
        (left, is_rough): (u8, bool),
        way: Option<&Rc<Way>>,
    ) {
        for at in 0..writes {
            let faults = Faults { spared: at, ..Faults::default() };
            for (name, faults) in [
                ("crash before", Faults { crash_after: Some(at), ..Faults::default() }),
                ("refuse", Faults { refusals: 1, ..faults }),
                ("lose the answer to", Faults { lost_answers: 1, ..faults }),
            ] {
                let choice = Choice::Fault(faults, name, at);
                self.tasks.push(Task { from: Rc::clone(from), choice, left, is_rough, way: way.cloned() });
            }
        }
    }

    /// A state is reached: it is judged, and everything that can happen in it is noted, unless that was done already.
    fn arrive(&mut self, state: Simulation, left: u8, is_rough: bool, way: Option<&Rc<Way>>) {
        let key = (state.fingerprint(), is_rough);
        let known = self.seen.get(&key).copied();
        if known.is_some_and(|known| known >= left) {
            return;
        }
        self.seen.insert(key, left);
        self.found.states += usize::from(known.is_none());
        let is_at_rest = state.next_event().is_none();
        if is_at_rest && known.is_none() {
            self.found.rests += 1;
            if let Some(wrong) = judge::rests(&state).or_else(|| would_write(&state)) {
                self.wrong(&wrong, &state, way.map(AsRef::as_ref));
                return;
            }
        }
        let from = Rc::new(state);
        let mut note = |choice| {
            self.tasks.push(Task { from: Rc::clone(&from), choice, left, is_rough, way: way.cloned() });
        };
        if left > 0 {
            (0..self.actions.len()).map(Choice::Act).for_each(&mut note);
        }
        if !is_at_rest {
            note(Choice::Event);
        }
    }

    fn wrong(&mut self, wrong: &str, state: &Simulation, way: Option<&Way>) {
        let mut steps = Vec::new();
        let mut step = way;
        while let Some(Way { at, what, before }) = step {
            steps.push(format!("{at}: {what}"));
            step = before.as_deref();
        }
        steps.reverse();
        let told = format!("{wrong}\nat {}, after:\n{}", state.now(), steps.join("\n"));
        self.found.violation.get_or_insert(told);
    }
}

/// A pass over a state at rest must have nothing to do.
fn would_write(state: &Simulation) -> Option<String> {
    let plan = rollout::decide(&state.cluster.snapshot(state.controller.memory())?);
    (!plan.is_idle()).then(|| format!("one more pass would write: {plan:?}"))
}

fn carry_out(simulation: &mut Simulation, statement: &Statement, files: &Files<'_>) {
    match statement {
        Statement::User(action, block) | Statement::Deployed(action, block) => {
            let block: Option<&Value> = block.as_ref();
            // A user whose action is refused has done nothing.
            let _ = simulation.cluster.act(action, block, files);
        }
        other => {
            simulation.change_world(other);
            simulation.arm(other);
        }
    }
}
