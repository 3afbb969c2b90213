//! Merging by `git merge-tree --write-tree`: what comes out is what `git merge` would make of the
//! same two commits under git's default configuration and the plan's `merge:` block.
//!
//! Runs in the quarantine, in memory, with no index and no working tree. Whether a merge has to be
//! made at all is not decided here.

use std::collections::HashMap;
use std::ffi::OsString;

use gix::ObjectId;

use super::attributes::{FILE_NAME, says_how_to_merge};
use super::command::{Git, GitError};
use super::objects::{Objects, ObjectsError};
use super::version::GitVersion;
use crate::plan::{DirectoryRenames, MergeSettings};

/// A merge could not be made, which is neither clean nor a conflict.
#[derive(Debug, thiserror::Error)]
pub enum MergeTreeError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    #[error(
        "{file} holds attributes that decide how git merges, and git {installed} reads them from a \
         checkout only: git {} or newer is needed to merge this in memory",
        GitVersion::ATTR_SOURCE
    )]
    AttributesOutOfReach { file: String, installed: GitVersion },
}

/// What git made of a merge.
#[must_use]
#[derive(Debug)]
pub enum Merged {
    Clean(ObjectId),
    Conflicted(Clash),
}

/// A conflict as git tells it.
#[derive(Debug)]
pub struct Clash {
    /// What git could make of it, with markers in the files that it could not merge.
    pub tree: ObjectId,
    /// The commits merged; git names them in its messages.
    pub ours: ObjectId,
    pub theirs: ObjectId,
    pub entries: Vec<ConflictedEntry>,
    pub messages: Vec<ClashMessage>,
}

/// One version of a path that git could not merge: stage 1 is the merge base's, 2 ours, 3 theirs.
#[derive(Debug)]
pub struct ConflictedEntry {
    pub id: Option<ObjectId>,
    pub stage: u8,
    pub path: Vec<u8>,
}

#[derive(Debug)]
pub struct ClashMessage {
    pub paths: Vec<Vec<u8>>,
    /// A stable name such as `CONFLICT (contents)` or `Auto-merging`.
    pub kind: String,
    pub text: String,
}

/// Merges in one quarantine.
#[derive(Debug)]
pub struct MergeTree {
    git: Git,
    version: GitVersion,
    settings: MergeSettings,
    /// For git without `--attr-source`: folder -> a file in it whose attributes matter to merges.
    attributes: HashMap<ObjectId, Option<Vec<u8>>>,
}

impl MergeTree {
    /// `git` is the quarantine's.
    pub fn new(git: Git, version: GitVersion, settings: MergeSettings) -> Self {
        Self { git, version, settings, attributes: HashMap::new() }
    }

    /// Merges commit `theirs` into commit `ours`, whose tree is `our_tree`; git finds the merge bases.
    ///
    /// # Errors
    /// Where git cannot merge at all.
    pub fn merge(
        &mut self,
        objects: &mut Objects,
        ours: ObjectId,
        our_tree: ObjectId,
        theirs: ObjectId,
    ) -> Result<Merged, MergeTreeError> {
        let mut args = self.settings();
        if self.version >= GitVersion::ATTR_SOURCE {
            // A `git merge` reads .gitattributes from the checkout, which is the tree merged into.
            args.push(attributes_of(our_tree));
        } else if let Some(file) = self.merge_attributes(objects, our_tree)? {
            let file = String::from_utf8_lossy(&file).into_owned();
            return Err(MergeTreeError::AttributesOutOfReach { file, installed: self.version });
        }
        objects.flush()?;
        // -z: paths as they are; --messages: in a conflict they say what met what.
        args.extend(["merge-tree", "--write-tree", "-z", "--messages"].map(OsString::from));
        args.extend([ours.to_string().into(), theirs.to_string().into()]);
        let output = self.git.output(&args, None)?;
        match output.status.code() {
            Some(status @ (0 | 1)) => {
                let told = parse_clash(&mut fields(&output.stdout), ours, theirs);
                told.map(|told| merged(status == 0, told)).ok_or_else(|| {
                    // A fatal error of its own has the status of a conflict; its words are on stderr.
                    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                    let command = format!("merge-tree {ours} {theirs}");
                    self.git.on_its_disks(GitError::Unreadable { command, why }).into()
                })
            }
            _ => Err(self.git.failed(&["merge-tree", &ours.to_string(), &theirs.to_string()], &output).into()),
        }
    }

    /// Whether [`MergeTree::merge_all`] can be asked.
    pub fn takes_many(&self) -> bool {
        self.version >= GitVersion::ATTR_SOURCE
    }

    /// As [`MergeTree::merge`], of several pairs whose first commits have one tree, by one git. What they
    /// name must have been flushed.
    ///
    /// # Errors
    /// Where git cannot merge at all, or is one that does not take many.
    pub fn merge_all(&self, our_tree: ObjectId, pairs: &[(ObjectId, ObjectId)]) -> Result<Vec<Merged>, MergeTreeError> {
        let mut args = self.settings();
        args.push(attributes_of(our_tree));
        // --messages: without it, a clean merge silences those after it (before git 2.49).
        args.extend(["merge-tree", "--write-tree", "-z", "--messages", "--stdin"].map(OsString::from));
        let questions: String = pairs.iter().map(|(ours, theirs)| format!("{ours} {theirs}\n")).collect();
        let output = self.git.run_with_input(&args, questions.as_bytes())?;
        let mut fields = fields(&output);
        let answers = pairs.iter().map(|(ours, theirs)| {
            parse_answer(&mut fields, *ours, *theirs).ok_or_else(|| {
                let command = format!("merge-tree --stdin: {ours} {theirs}");
                GitError::Unreadable { command, why: "its answer breaks off".to_owned() }.into()
            })
        });
        answers.collect()
    }

    /// How to merge, as the plan says.
    fn settings(&self) -> Vec<OsString> {
        let directory_renames = match self.settings.directory_renames {
            DirectoryRenames::True => "true",
            DirectoryRenames::False => "false",
            DirectoryRenames::Conflict => "conflict",
        };
        vec![
            "-c".into(),
            format!("merge.renames={}", self.settings.renames).into(),
            "-c".into(),
            format!("merge.directoryRenames={directory_renames}").into(),
        ]
    }

    /// The first `.gitattributes` in a tree that says how to merge.
    fn merge_attributes(&mut self, objects: &mut Objects, tree: ObjectId) -> Result<Option<Vec<u8>>, ObjectsError> {
        if let Some(known) = self.attributes.get(&tree) {
            return Ok(known.clone());
        }
        let mut found = None;
        for entry in &objects.tree(tree)?.entries {
            if entry.is_tree() {
                found = self.merge_attributes(objects, entry.id)?.map(|rest| [&entry.name[..], b"/", &rest].concat());
            } else if *entry.name == *FILE_NAME && says_how_to_merge(&objects.blob(entry.id)?) {
                found = Some(entry.name.to_vec());
            }
            if found.is_some() {
                break;
            }
        }
        self.attributes.insert(tree, found.clone());
        Ok(found)
    }
}

fn attributes_of(tree: ObjectId) -> OsString {
    format!("--attr-source={tree}").into()
}

fn fields(output: &[u8]) -> impl Iterator<Item = &[u8]> {
    output.split(|b| *b == 0)
}

/// One answer under `--stdin`: 1 for a clean merge or 0, and then as without it, up to an empty field.
fn parse_answer<'a>(fields: &mut impl Iterator<Item = &'a [u8]>, ours: ObjectId, theirs: ObjectId) -> Option<Merged> {
    let is_clean = match fields.next()? {
        b"0" => false,
        b"1" => true,
        _ => return None,
    };
    let clash = parse_clash(fields, ours, theirs)?;
    Some(merged(is_clean, clash))
}

/// Of a file that is renamed onto another git merges twice, and what conflicts the first time is text to the second. Where that takes
/// both sides' lines (`merge=union` in gitattributes(5)) it ends well, with the markers of the first in the file: it says so, and
/// that is believed.
fn merged(is_clean: bool, told: Clash) -> Merged {
    let conflicts = told.messages.iter().any(|message| message.kind.starts_with("CONFLICT"));
    if is_clean && !conflicts { Merged::Clean(told.tree) } else { Merged::Conflicted(told) }
}

/// The `-z` format of git-merge-tree(1): the tree, the conflicted entries, an empty field, the messages.
fn parse_clash<'a>(fields: &mut impl Iterator<Item = &'a [u8]>, ours: ObjectId, theirs: ObjectId) -> Option<Clash> {
    let tree = ObjectId::from_hex(fields.next()?).ok()?;
    let mut clash = Clash { tree, ours, theirs, entries: Vec::new(), messages: Vec::new() };
    loop {
        let field = fields.next()?;
        if field.is_empty() {
            break;
        }
        let tab = field.iter().position(|b| *b == b'\t')?;
        let mut words = field[..tab].split(|b| *b == b' ').skip(1);
        let id = ObjectId::from_hex(words.next()?).ok();
        let stage = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        clash.entries.push(ConflictedEntry { id, stage, path: field[tab + 1..].to_vec() });
    }
    while let Some(field) = fields.next() {
        // Until 2.40 advice on submodules follows the messages, in a format of its own.
        let Some(count) = std::str::from_utf8(field).ok().and_then(|text| text.parse::<usize>().ok()) else { break };
        let paths = (0..count).map(|_| fields.next().map(<[u8]>::to_vec)).collect::<Option<_>>()?;
        let kind = String::from_utf8_lossy(fields.next()?).into_owned();
        let text = String::from_utf8_lossy(fields.next()?).trim_end().to_owned();
        clash.messages.push(ClashMessage { paths, kind, text });
    }
    Some(clash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_read_with_paths_that_hold_anything() {
        let id = "3f".repeat(20);
        let text = format!(
            "{id}\0100644 {id} 1\ta b\tc\n\0100644 {id} 3\ta b\tc\n\0\0002\0a b\tc\n\0x\0CONFLICT (modify/delete)\0\
             CONFLICT (modify/delete): it\n\01\0y\0Auto-merging\0Auto-merging y\n\0"
        );
        let commit = ObjectId::empty_tree(gix::hash::Kind::Sha1);
        let clash = parse_clash(&mut fields(text.as_bytes()), commit, commit).unwrap();
        assert_eq!(clash.tree.to_string(), id);
        assert_eq!(clash.entries.iter().map(|entry| entry.stage).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(clash.entries[0].path, b"a b\tc\n");
        assert_eq!(clash.messages[0].paths, [b"a b\tc\n".to_vec(), b"x".to_vec()]);
        assert_eq!(clash.messages[0].text, "CONFLICT (modify/delete): it");
        assert_eq!(clash.messages[1].kind, "Auto-merging");
        assert!(parse_clash(&mut fields(b"fatal: no"), commit, commit).is_none());
    }

    #[test]
    fn answers_to_several_questions_are_read_one_after_another() {
        let id = "3f".repeat(20);
        let tree_of = ObjectId::from_hex(id.as_bytes()).unwrap();
        let text = format!(
            "1\0{id}\0\0\x31\0f\0Auto-merging\0Auto-merging f\n\0\0\
             0\0{id}\0100644 {id} 2\tf\0\0\x31\0f\0CONFLICT (contents)\0it\n\0\0\
             1\0{id}\0\0\0"
        );
        let commit = ObjectId::empty_tree(gix::hash::Kind::Sha1);
        let mut fields = fields(text.as_bytes());
        let mut next = || parse_answer(&mut fields, commit, commit);
        assert!(matches!(next(), Some(Merged::Clean(tree)) if tree == tree_of));
        let Some(Merged::Conflicted(clash)) = next() else { panic!("the second one conflicts") };
        assert_eq!((clash.entries.len(), clash.messages.len()), (1, 1));
        assert!(matches!(next(), Some(Merged::Clean(_))));
        assert!(next().is_none());
    }

    #[test]
    fn what_git_calls_a_conflict_is_one_whatever_its_status() {
        let id = "3f".repeat(20);
        let text = format!("1\0{id}\0\0\x31\0a/n\0CONFLICT (contents)\0it\n\0\x31\0a/n\0Auto-merging\0a/n\n\0\0");
        let commit = ObjectId::empty_tree(gix::hash::Kind::Sha1);
        let Some(Merged::Conflicted(clash)) = parse_answer(&mut fields(text.as_bytes()), commit, commit) else {
            panic!("its file has markers")
        };
        assert_eq!((clash.entries.len(), clash.messages.len()), (0, 2));
    }
}
