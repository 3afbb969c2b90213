//! One of those who land: starts the plan, tries again where it is refused, resumes where it was
//! killed, as what lexpr says tells them to, until there is a report of a run that came to its end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::scenery::Random;
use crate::cli_world::{Said, World};

/// Far beyond what a round takes.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub struct Lander {
    name: String,
    plan: String,
    waits: bool,
    /// Lands beside whoever has the target.
    is_urgent: bool,
    /// After how many events of a run the process at it is killed, one after another.
    kills: Vec<usize>,
    random: Random,
}

/// What came of it.
#[derive(Debug)]
pub struct Ended {
    pub name: String,
    pub report: serde_json::Value,
    pub processes: usize,
    pub kills: usize,
    pub refusals: usize,
    pub resumptions: usize,
}

impl Lander {
    pub fn new(number: usize, plan: &str, mut random: Random) -> Self {
        let kills = (0..random.below(3)).map(|_| 1 + random.below(20)).collect();
        let waits = random.one_in(2);
        let is_urgent = !waits && random.one_in(2);
        Self { name: format!("lander-{number}"), plan: plan.to_owned(), waits, is_urgent, kills, random }
    }

    pub fn land(mut self, world: &World) -> Ended {
        let plan = world.path(&format!("{}.yaml", self.name));
        std::fs::write(&plan, &self.plan).unwrap();
        let report = world.path(&format!("{}.json", self.name));
        let begun = Instant::now();
        let mut ended = Ended {
            name: self.name.clone(),
            report: serde_json::Value::Null,
            processes: 0,
            kills: 0,
            refusals: 0,
            resumptions: 0,
        };
        let mut resume = None;
        loop {
            assert!(begun.elapsed() < PATIENCE, "{} never came to an end:\n{}", self.name, self.plan);
            ended.processes += 1;
            ended.resumptions += usize::from(resume.is_some());
            let Some(said) = self.attempt(world, &plan, &report, resume.take()) else {
                ended.kills += 1;
                continue;
            };
            match said.code {
                0 | 3 => break,
                // Somebody has the target, or it was moved too often, or its checkout is dirty because
                // somebody was killed and has not yet resumed.
                4 => ended.refusals += 1,
                2 => resume = Some(run_to_resume(&said)),
                _ => panic!("{}: {said:?}\n{}", self.name, self.plan),
            }
            thread::park_timeout(Duration::from_millis(50 + self.random.below(200) as u64));
        }
        ended.report = world.report(&report);
        ended
    }

    /// `None` where it was killed.
    fn attempt(&mut self, world: &World, plan: &Path, report: &Path, resume: Option<String>) -> Option<Said> {
        let mut command = world.command(match &resume {
            Some(run) => vec!["resume".into(), run.into()],
            None => vec!["merge".into(), plan.as_os_str().to_owned(), "--execute".into()],
        });
        command.args((resume.is_none() && self.is_urgent).then_some("--urgent"));
        command.args(["--progress", "json", "--report"]).arg(report).args(self.waits.then_some("--wait"));
        let errors = world.path(&format!("{}.err", self.name));
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(&errors).unwrap()).spawn().unwrap();
        let events = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let was_killed = self.see(&mut child, events);
        let code = child.wait().unwrap().code().unwrap_or(-1);
        let said = Said { code, stdout: String::new(), stderr: fs::read_to_string(errors).unwrap() };
        // It may have come to its end just before.
        (!was_killed || code != -1).then_some(said)
    }

    /// Looks on until the end, or until it is time to kill.
    fn see(&mut self, child: &mut Child, mut events: impl Iterator<Item = String>) -> bool {
        if let Some(last) = self.kills.last()
            && events.nth(last - 1).is_some()
        {
            self.kills.pop();
            // Not always where an event is shown.
            thread::park_timeout(Duration::from_millis(self.random.below(20) as u64));
            child.kill().unwrap();
            return true;
        }
        events.for_each(drop);
        false
    }
}

/// As lexpr names it.
fn run_to_resume(said: &Said) -> String {
    let named = said.stderr.split_once("`lexpr resume ").and_then(|(_, rest)| rest.split_once('`'));
    let (run, _) = named.unwrap_or_else(|| panic!("{said:?}"));
    run.to_owned()
}
