//! One item at a time on the tip: what a person does, and what most queues do unless told otherwise. One run
//! per item, 1/(1 − p) for each that lands.

use crate::simulation::Setting;
use crate::simulation::figures::Outcome;
use crate::simulation::peers::machine::Machine;
use crate::simulation::world::World;

pub fn run(world: &World, setting: &Setting) -> Outcome {
    let mut machine = Machine::new(world, setting);
    for item in 0..world.len() {
        let tree = machine.with(machine.tip(), item, |_| false);
        if machine.passes(tree) || !machine.fails_again(tree) {
            machine.land(item);
        }
    }
    machine.finish()
}
