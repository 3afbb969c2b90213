//! A gated train, as Zuul's dependent pipeline is (its documentation on project gating, on the pipeline's
//! window, and the "nearest non-failing item" of its developers' manual): each item is tested on the tip and
//! all items ahead of it that do not fail, before those have finished. When one fails, what is behind it is
//! stopped and tested again without it. A failing item is ejected only when everything ahead of it has
//! landed or gone; if something ahead fails, it is tested again like all others. The active window begins at
//! 20 items, grows by one with each that lands, and is halved with each that is ejected, never below 3.
//!
//! Second opinions are not Zuul's. Here the first item, having failed, is judged once more while those behind
//! it already run without it; if it passes, it lands and they start once more, with it.

use std::collections::VecDeque;

use crate::simulation::Setting;
use crate::simulation::figures::Outcome;
use crate::simulation::peers::machine::{Finished, Machine, Ticket, Tree};
use crate::simulation::world::World;

/// Zuul's defaults: `window` and `window-floor`.
const WINDOW: usize = 20;
const WINDOW_FLOOR: usize = 3;

/// With at most `window_ceiling` items in the window.
pub fn run(world: &World, setting: &Setting, window_ceiling: usize) -> Outcome {
    let ceiling = window_ceiling.max(WINDOW_FLOOR);
    let mut train = Train {
        machine: Machine::new(world, setting),
        cars: VecDeque::new(),
        first: 0,
        rides: vec![false; world.len()],
        window: WINDOW.min(ceiling),
        ceiling,
    };
    loop {
        train.settle();
        train.fill();
        let finished = train.machine.advance();
        if finished.is_empty() {
            return train.machine.finish();
        }
        finished.into_iter().for_each(|run| train.heard(run));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running(Ticket),
    Passed,
    Failing,
    /// Failing, with everything ahead resolved, and judged once more.
    Again(Ticket),
    /// Failed again.
    Refused,
}

#[derive(Debug)]
struct Car {
    /// What landed, the cars ahead that do not fail, and this one's item.
    tree: Tree,
    state: State,
}

impl Car {
    fn runs(&self) -> Option<Ticket> {
        match self.state {
            State::Running(ticket) | State::Again(ticket) => Some(ticket),
            State::Passed | State::Failing | State::Refused => None,
        }
    }

    fn is_failing(&self) -> bool {
        matches!(self.state, State::Failing | State::Again(_) | State::Refused)
    }
}

#[derive(Debug)]
struct Train<'world> {
    machine: Machine<'world>,
    /// The items that were started and are not resolved: `first`, `first + 1` and so on. They start from the
    /// front and are stopped from the back, so that there are never gaps.
    cars: VecDeque<Car>,
    first: usize,
    /// Items in cars that do not fail.
    rides: Vec<bool>,
    window: usize,
    ceiling: usize,
}

impl Train<'_> {
    /// Takes a verdict to the car it is about, if that car was not stopped a moment ago.
    fn heard(&mut self, run: Finished) {
        let Some(at) = self.cars.iter().position(|car| car.runs() == Some(run.ticket)) else { return };
        let car = &mut self.cars[at];
        match (car.state, run.passed) {
            (State::Again(_), false) => car.state = State::Refused,
            (_, false) => {
                car.state = State::Failing;
                self.rides[self.first + at] = false;
                self.stop_behind(at);
            }
            // It was a flake: those behind run without it and must not.
            (State::Again(_), true) => {
                car.state = State::Passed;
                self.rides[self.first + at] = true;
                self.stop_behind(at);
            }
            (_, true) => car.state = State::Passed,
        }
    }

    fn stop_behind(&mut self, at: usize) {
        while self.cars.len() > at + 1 {
            self.rides[self.first + self.cars.len() - 1] = false;
            if let Some(ticket) = self.cars.pop_back().and_then(|car| car.runs()) {
                self.machine.stop(ticket);
            }
        }
    }

    /// Lands and ejects from the front as far as it goes, and asks for the second opinion on the first.
    fn settle(&mut self) {
        while let Some(car) = self.cars.front_mut() {
            match car.state {
                State::Running(_) | State::Again(_) => return,
                State::Failing if self.machine.has_second_opinions() => {
                    if self.machine.free() > 0 {
                        car.state = State::Again(self.machine.start_second_opinion(car.tree));
                    }
                    return;
                }
                State::Passed => {
                    self.machine.land(self.first);
                    self.window = (self.window + 1).min(self.ceiling);
                }
                State::Failing | State::Refused => self.window = (self.window / 2).max(WINDOW_FLOOR),
            }
            self.rides[self.first] = false;
            self.cars.pop_front();
            self.first += 1;
        }
    }

    /// Starts what the window and the workers have room for.
    fn fill(&mut self) {
        while self.machine.free() > 0
            && self.cars.len() < self.window
            && self.first + self.cars.len() < self.rides.len()
        {
            let item = self.first + self.cars.len();
            let ahead = self.cars.iter().rev().find(|car| !car.is_failing());
            let base = ahead.map_or(self.machine.tip(), |car| car.tree);
            let tree = self.machine.with(base, item, |other| self.rides[other]);
            self.rides[item] = true;
            self.cars.push_back(Car { tree, state: State::Running(self.machine.start(tree)) });
        }
    }
}
