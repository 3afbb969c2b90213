//! A world in few words: what somebody reads who looks for what broke in it.

use std::fmt::{self, Display, Formatter};

use super::{GateSpec, World};

impl Display for World {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            write!(f, "item {}", item.name)?;
            if !item.deps.is_empty() {
                write!(f, " after {}", item.deps.join(" "))?;
            }
            if item.priority != 0 {
                write!(f, ", priority {}", item.priority)?;
            }
            if item.already_landed {
                f.write_str(", landed already")?;
            }
            match &item.gates {
                Some(own) => writeln!(f, ", gates [{}]", gates(own))?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, "gates of the others: [{}]", gates(&self.gates))?;
        for rule in &self.rules {
            let without = if rule.absent.is_empty() { "" } else { " without " };
            let (with, absent) = (rule.present.join(" "), rule.absent.join(" "));
            writeln!(f, "rule: {} on [{with}]{without}{absent}: {:?}", rule.gate, rule.effect)?;
        }
        for (one, other) in &self.conflicts {
            writeln!(f, "conflict: {one} with {other}")?;
        }
        for others in &self.others {
            writeln!(f, "others move the target: {others:?}")?;
        }
        writeln!(f, "urgent runs beside it: {:?}, urgent itself: {}", self.urgent_beside, self.urgent)?;
        writeln!(f, "overridden: {:?}", self.overrides)?;
        writeln!(f, "mishaps: {:?}", self.mishaps)?;
        writeln!(f, "stops: {:?}, then taken up at most {} times", self.stops, self.taken_up)?;
        writeln!(f, "{:?}, blockOn {:?}", self.limits, self.block_on)?;
        writeln!(f, "{:?}", self.limited)?;
        write!(
            f,
            "memory {:?} of {:?}, peaks {}, load {:?}, gates up to {} ms, hands up to {} ms, order by {:#x}",
            self.memory,
            self.memory_threshold,
            self.memory_peaks,
            self.load,
            self.longest_gate_ms,
            self.longest_hand_ms,
            self.seed
        )
    }
}

fn gates(gates: &[GateSpec]) -> String {
    let words = gates.iter().map(|gate| {
        let mut word = gate.name.clone();
        let mut add = |yes: bool, what: &str| {
            if yes {
                word.push_str(what);
            }
        };
        add(gate.run != gate.name, &format!("={}", gate.run));
        add(!gate.required, "?");
        add(!gate.apex, "@cone");
        add(!gate.cone, "@apex");
        add(gate.context, "+context");
        add(gate.max_attempts > 1, &format!("x{}", gate.max_attempts));
        if let Some(inputs) = &gate.inputs {
            add(true, &format!("({})", inputs.join(" ")));
        }
        word
    });
    words.collect::<Vec<_>>().join(", ")
}
