//! The pyramid as a picture: items in levels, what depends on nothing at the bottom, each above what it depends on,
//! and the target on top.
//!
//! Every box is of one size, so that ten items and three hundred are read alike; where each stands is `layout`'s.

use std::fmt::Write as _;

use super::labels::labels;
use super::layout::{Item, Layout};
use super::look::{Look, Shape};
use super::markup::{escaped, text};
use crate::wording::shown;

/// One item of the picture.
pub struct Node<'a> {
    pub name: &'a str,
    pub level: u32,
    /// Positions of what it depends on; all of them stand in lower levels.
    pub deps: Vec<usize>,
    pub look: Look,
    /// What one reads who points at it, after its name and its state.
    pub why: String,
}

pub const BOX: (i64, i64) = (136, 30);
pub const GAP: (i64, i64) = (20, 14);
/// Between levels there is room for lines.
pub const BETWEEN_LEVELS: i64 = 40;
pub const COLUMNS: usize = 8;
pub const MARGIN: i64 = 16;
/// As wide as a full line.
pub const WIDTH: i64 = 2 * MARGIN + COLUMNS as i64 * (BOX.0 + GAP.0) - GAP.0;
/// Lines of different items that run side by side are of different colours, of so many.
const HUES: usize = 6;

/// The picture; `top` is written above all, and `style` is markup that it holds.
pub fn svg(nodes: &[Node<'_>], top: &str, style: &str) -> String {
    let items: Vec<Item<'_>> = nodes.iter().map(|node| Item { level: node.level, deps: &node.deps }).collect();
    let layout = Layout::of(&items, MARGIN + BOX.1);
    let height = layout.height;
    let mut out = format!(
        "<svg class=\"pyramid\" viewBox=\"0 0 {WIDTH} {height}\" role=\"group\" aria-label=\"The items, each above what it depends on\">\n{style}<g class=\"edges\">\n"
    );
    for (at, node) in nodes.iter().enumerate() {
        for dep in &node.deps {
            let hue = format!("h{}", layout.hue(*dep, HUES));
            let class = line_class(nodes[*dep].look, node.look).map_or(hue.clone(), |class| format!("{class} {hue}"));
            edge(&mut out, &layout.way(*dep, at), &class, &format!(" data-of=\"{dep} {at}\""));
        }
    }
    // A roof over all: lines to it from what landed would cross everything. Writing to a string does not fail.
    let _ = writeln!(
        out,
        "</g>\n<g class=\"target\"><rect x=\"{MARGIN}\" y=\"{MARGIN}\" width=\"{}\" height=\"{}\"/><text x=\"{}\" y=\"{}\">{}</text></g>",
        WIDTH - 2 * MARGIN,
        BOX.1,
        WIDTH / 2,
        MARGIN + 20,
        text(top)
    );
    let common = common_folder(nodes);
    let names: Vec<_> = nodes.iter().map(|node| shown(node.name.get(common..).unwrap_or(node.name))).collect();
    for ((at, node), label) in nodes.iter().enumerate().zip(labels(&names)) {
        item(&mut out, at, node, &label, layout.places[at]);
    }
    out.push_str("</svg>\n");
    out
}

/// What a line from an item up to what depends on it says beside that. One that leads from what landed is never red, whatever
/// became of what stands on it, unless that is blocked for its landing without a proof.
fn line_class(lower: Look, upper: Look) -> Option<&'static str> {
    match (lower, upper) {
        (Look::Overridden, Look::Blocked) => Some(Look::Blocked.class()),
        (Look::Overridden, _) => Some(Look::Overridden.class()),
        (lower, Look::Blocked) if lower.blocks() => Some(lower.class()),
        _ => None,
    }
}

/// The picture's lines, in words; nothing where there are none.
pub fn lines_in_words(nodes: &[Node<'_>]) -> String {
    let ends = || nodes.iter().flat_map(|node| node.deps.iter().map(|dep| (nodes[*dep].look, node.look)));
    if ends().next().is_none() {
        return String::new();
    }
    let is_to_blame = |(lower, upper): (Look, Look)| line_class(lower, upper).is_some() && upper == Look::Blocked;
    let red = if ends().any(is_to_blame) { "; dashed red ones, from what blocks to what is blocked by it" } else { "" };
    let is_overridden = |(lower, upper)| line_class(lower, upper) == Some(Look::Overridden.class());
    let brown = if ends().any(is_overridden) { "; brown ones, from what landed overridden" } else { "" };
    format!("Lines lead up from what is needed to what needs it{red}{brown}.")
}

/// In a picture of more items than this, none lights up others: the rules for it would be as long as the picture.
const MOST_LIT: usize = 500;

/// Style for a page without a script: whichever item is pointed at, or has the focus, lights its lines and the items at
/// their other ends.
pub fn lights(nodes: &[Node<'_>]) -> String {
    let mut ends: Vec<Vec<usize>> = nodes.iter().map(|node| node.deps.clone()).collect();
    for (at, node) in nodes.iter().enumerate() {
        for dep in &node.deps {
            if let Some(ends) = ends.get_mut(*dep) {
                ends.push(at);
            }
        }
    }
    let mut out = String::new();
    if nodes.len() <= MOST_LIT {
        for (at, ends) in ends.iter().enumerate().filter(|(_, ends)| !ends.is_empty()) {
            let ends: String = ends.iter().map(|end| format!(",[href=\"#item-{end}\"]>:is(rect,path)")).collect();
            let _ = writeln!(
                out,
                ".pyramid:has([href=\"#item-{at}\"]:is(:hover,:focus-visible)) :is([data-of~=\"{at}\"]{ends}){{stroke:var(--ink);stroke-width:2.5;opacity:1}}"
            );
        }
    }
    if out.is_empty() { out } else { format!("<style>\n{out}</style>\n") }
}

/// From above what is needed to below what needs it, by a way as [`Layout::way`] gives it; `of` is markup that says
/// whose it is.
fn edge(out: &mut String, way: &[(i64, i64)], class: &str, of: &str) {
    let _ = write!(out, "<path class=\"{class}\"{of} d=\"M{} {}", way[0].0, way[0].1);
    for (nth, stretch) in way.windows(2).enumerate() {
        let [from, to] = [stretch[0], stretch[1]];
        let _ = if nth % 2 == 1 {
            write!(out, "V{}", to.1)
        } else {
            let bend = (from.1 - to.1) / 2;
            write!(out, "C{} {} {} {} {} {}", from.0, from.1 - bend, to.0, to.1 + bend, to.0, to.1)
        };
    }
    out.push_str("\"/>\n");
}

fn item(out: &mut String, at: usize, node: &Node<'_>, label: &str, (x, y): (i64, i64)) {
    let (wide, high) = BOX;
    let corner = 8;
    let outline = match node.look.shape() {
        Shape::Round => format!("<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{high}\" rx=\"{}\"/>", high / 2),
        Shape::Square => format!("<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{high}\" rx=\"2\"/>"),
        Shape::Cut => format!(
            "<path d=\"M{} {y}h{}l{corner} {corner}v{}l-{corner} {corner}h-{}l-{corner}-{corner}v-{}z\"/>",
            x + corner,
            wide - 2 * corner,
            high - 2 * corner,
            wide - 2 * corner,
            high - 2 * corner
        ),
        Shape::Pointed => format!(
            "<path d=\"M{} {y}h{}l{corner} {}l-{corner} {}h-{}l-{corner}-{}z\"/>",
            x + corner,
            wide - 2 * corner,
            high / 2,
            high / 2,
            wide - 2 * corner,
            high / 2
        ),
        Shape::Slanted => {
            format!("<path d=\"M{} {y}h{}l-{corner} {high}h-{}z\"/>", x + corner, wide - corner, wide - corner)
        }
    };
    let why = if node.why.is_empty() { String::new() } else { format!(": {}", text(&node.why)) };
    let name = text(node.name);
    let _ = writeln!(
        out,
        "<a class=\"item {}\" href=\"#item-{at}\" data-title=\"{name}\"><title>{name}: {}{why}</title>{outline}<text x=\"{}\" y=\"{}\">{} {}</text></a>",
        node.look.class(),
        node.look.words(),
        x + corner + 3,
        y + 20,
        node.look.sign(),
        escaped(label),
    );
}

/// How many bytes all names begin with that end in a slash: `feature/` says nothing where all of them have it.
fn common_folder(nodes: &[Node<'_>]) -> usize {
    let [first, others @ ..] = nodes else { return 0 };
    if others.is_empty() {
        return 0;
    }
    let shared = |prefix: &str| others.iter().all(|other| other.name.starts_with(prefix));
    let slashes = first.name.rmatch_indices('/').map(|(at, _)| at + 1);
    slashes.into_iter().find(|end| shared(&first.name[..*end])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_to_what_is_blocked_from_what_blocks_it_is_a_red_one_and_is_explained() {
        let node = |deps: &[usize], look| Node { name: "x", level: 0, deps: deps.to_vec(), look, why: String::new() };
        let blocked_by = |look| lines_in_words(&[node(&[], look), node(&[0], Look::Blocked)]);
        assert_eq!(line_class(Look::Overridden, Look::Blocked), Some("blocked"));
        assert!(blocked_by(Look::Overridden).contains("dashed red") && !blocked_by(Look::Overridden).contains("brown"));
        assert!(blocked_by(Look::Failed).contains("dashed red") && !blocked_by(Look::Landed).contains("red"));
        let brown = lines_in_words(&[node(&[], Look::Overridden), node(&[0], Look::Landed)]);
        assert!(brown.contains("brown ones") && !brown.contains("red"), "{brown}");
    }

    #[test]
    fn an_item_that_is_pointed_at_lights_its_lines_and_what_is_at_their_ends_and_nothing_else() {
        let node = |deps: &[usize]| Node {
            name: "x",
            level: u32::from(!deps.is_empty()),
            deps: deps.to_vec(),
            look: Look::Landed,
            why: String::new(),
        };
        let rules = lights(&[node(&[]), node(&[0]), node(&[0]), node(&[])]);
        let rule = |at: usize| rules.lines().find(|line| line.contains(&format!(":has([href=\"#item-{at}\"]:is(")));
        let lit = |at: usize, by: &str| rule(at).unwrap().contains(&format!(",[href=\"#item-{by}\"]>"));
        assert!(rule(0).unwrap().contains(":is([data-of~=\"0\"],"), "{rules}");
        assert!(lit(0, "1") && lit(0, "2") && !lit(0, "3"), "{rules}");
        assert!(lit(1, "0") && !lit(1, "2"), "{rules}");
        assert_eq!([rule(3), rule(4)], [None, None], "it has no lines: {rules}");
        assert_eq!(lights(&[node(&[]), node(&[])]), "");
    }
}
