//! Texts merged in process against what git makes of the same three, by the hundred in one merge.

use std::collections::HashMap;

use lexpr::git::text_merge;

use crate::git_world::{Files, GitWorld, Stream};
use crate::random::Random;

/// Texts that are tried; `LEXPR_TEXTS` tries so many.
const TEXTS: usize = 2_000;
const TEXTS_OF_ONE_MERGE: usize = 500;

/// Lines of few kinds, as code has them, and some that stand once.
fn text(random: &mut Random) -> Vec<String> {
    let kinds = 1 + random.below(6);
    let unique_of_ten = random.below(11);
    (0..random.below(60))
        .map(|at| match random.below(10) < unique_of_ten {
            true => format!("unique {at}"),
            false => format!("kind {}", random.below(kinds)),
        })
        .collect()
}

fn somewhere(random: &mut Random, lines: &[String], most: usize) -> std::ops::Range<usize> {
    let at = random.below(lines.len() + 1);
    at..(at + random.below(most + 1)).min(lines.len())
}

fn edited(random: &mut Random, base: &[String], edits: usize) -> Vec<String> {
    let mut lines = base.to_vec();
    for _ in 0..edits {
        let range = somewhere(random, &lines, 6);
        match random.below(8) {
            0 | 1 => drop(lines.drain(range)),
            2 | 3 => {
                let new = (0..1 + random.below(4)).map(|_| format!("kind {}", random.below(6)));
                drop(lines.splice(range.start..range.start, new.collect::<Vec<_>>()));
            }
            4 => lines[range].iter_mut().for_each(|line| line.push('!')),
            5 => {
                // A copy of lines from elsewhere.
                let copied = lines[range].to_vec();
                let to = random.below(lines.len() + 1);
                drop(lines.splice(to..to, copied));
            }
            6 => {
                let moved: Vec<String> = lines.drain(range).collect();
                let to = random.below(lines.len() + 1);
                drop(lines.splice(to..to, moved));
            }
            _ => {
                let new = format!("unique {}", random.below(80));
                lines.insert(range.start, new);
            }
        }
    }
    lines
}

fn bytes(random: &mut Random, lines: &[String]) -> Vec<u8> {
    let mut text = lines.join("\n");
    if !lines.is_empty() && random.below(8) > 0 {
        text.push('\n');
    }
    text.into_bytes()
}

#[test]
#[expect(clippy::print_stdout, reason = "the share of texts that need no git is what it is run by itself for")]
fn invariant_3_texts_merged_in_process_are_what_git_makes_of_them() {
    let texts = std::env::var("LEXPR_TEXTS").ok().map_or(TEXTS, |texts| texts.parse().unwrap());
    let world = GitWorld::empty();
    let mut random = Random(0x7e87);
    let (mut certain, mut clean, mut all) = (0, 0, 0);
    for round in 0..texts.div_ceil(TEXTS_OF_ONE_MERGE) {
        let [mut base, mut ours, mut theirs, mut mine] = [(); 4].map(|()| Files::new());
        for number in 0..TEXTS_OF_ONE_MERGE {
            let path = format!("{number:03}").into_bytes();
            let lines = text(&mut random);
            let sides = [0, 5, 5].map(|most| {
                let edits = random.below(most + 1);
                let lines = edited(&mut random, &lines, edits);
                bytes(&mut random, &lines)
            });
            if let Some(merged) = text_merge::merge(&sides[0], &sides[1], &sides[2]) {
                mine.insert(path.clone(), ("100644", merged));
            }
            for (files, text) in [&mut base, &mut ours, &mut theirs].into_iter().zip(sides) {
                files.insert(path.clone(), ("100644", text));
            }
        }
        let mut stream = Stream::default();
        let name = |what: &str| format!("{what}{round}");
        let root = stream.commit(&name("base"), &[], &base);
        stream.commit(&name("ours"), &[root], &ours);
        stream.commit(&name("theirs"), &[root], &theirs);
        stream.commit(&name("mine"), &[root], &mine);
        let ids = world.import(&stream);
        let id = |what: &str| ids[&name(what)].to_string();
        let merge = ["merge-tree", "--write-tree", "--name-only", "-z", &id("ours"), &id("theirs")];
        let (_, told, _) = world.try_git_in(&world.repo(), merge, None);
        let fields: Vec<&str> = told.split('\0').collect();
        let conflicted: Vec<&str> = fields[1..].iter().copied().take_while(|path| !path.is_empty()).collect();
        let files = |tree: &str| -> HashMap<String, String> {
            let listed = world.git(["ls-tree", "-r", tree]);
            listed.lines().map(|line| line.split_once('\t').unwrap()).map(|(of, at)| (at.into(), of.into())).collect()
        };
        let (by_git, by_us) = (files(fields[0]), files(&id("mine")));
        for (path, file) in &by_us {
            let of = |files: &Files| String::from_utf8_lossy(&files[path.as_bytes()].1).into_owned();
            assert!(
                !conflicted.contains(&path.as_str()) && by_git.get(path) == Some(file),
                "round {round}, text {path}: merged otherwise than by git\n--- base\n{}\n--- ours\n{}\n--- theirs\n{}\n--- merged\n{}",
                of(&base),
                of(&ours),
                of(&theirs),
                of(&mine)
            );
        }
        certain += by_us.len();
        clean += TEXTS_OF_ONE_MERGE - conflicted.len();
        all += TEXTS_OF_ONE_MERGE;
    }
    println!("{all} texts: git merges {clean}, {certain} of them need no git");
    assert!(certain * 3 > clean, "{certain} of {clean}");
}
