//! Batches that are halved when they fail, as bors-ng does (its documentation on bisecting, and
//! `lib/worker/batcher/divider.ex`): a batch that passes lands whole; one that fails is cut in two; one that
//! fails with a single item in it ejects that item. One batch is tested at a time, however many workers there
//! are. That a right half must fail when the left one has passed is not concluded: bors-ng runs it. Here the
//! halves go to the front of the queue, the left one first, so that items land in canonical order; which of
//! them comes first changes how long an item waits, not how many runs there are.

use crate::simulation::Setting;
use crate::simulation::figures::Outcome;
use crate::simulation::peers::machine::{Machine, stretch};
use crate::simulation::world::World;

/// With at most `size` items in a batch; without, the first batch is the whole queue.
pub fn run(world: &World, setting: &Setting, size: Option<usize>) -> Outcome {
    let mut machine = Machine::new(world, setting);
    let size = size.unwrap_or(world.len()).max(1);
    for start in (0..world.len()).step_by(size) {
        let whole = start..start.saturating_add(size).min(world.len());
        let mut queue = vec![whole];
        while let Some(batch) = queue.pop() {
            let tree = stretch::tree(&machine, batch.clone());
            if machine.passes(tree) {
                stretch::land(&mut machine, batch);
            } else if batch.len() > 1 {
                let middle = batch.start + batch.len() / 2;
                queue.push(middle..batch.end);
                queue.push(batch.start..middle);
            } else if !machine.fails_again(tree) {
                stretch::land(&mut machine, batch);
            }
        }
    }
    machine.finish()
}
