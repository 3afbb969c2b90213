//! `--override`: who lets an item land whose gates do not pass, whether the plan allows that, and why.

use clap::Args;
use unicode_width::UnicodeWidthChar as _;

use super::failure::Failure;
use super::prepare::Opened;
use super::speak;
use crate::git::repo::UserRepo;
use crate::plan::AdminGreen;
use crate::plan::problem::{is_control, nearest};
use crate::report::dry_run::DryRun;
use crate::vocabulary::event::OverrideGrant;
use crate::vocabulary::names::ItemName;
use crate::wording::{list, shown};

/// It stands on one line of a commit's message.
const LONGEST_REASON: usize = 500;

#[derive(Clone, Debug, Default, Args)]
pub struct OverrideArgs {
    /// Land this item although its gates may not pass: alone, after all others, marked as overridden. Where
    /// policy.overrides.adminGreen of the plan allows it; may be given several times
    #[arg(long = "override", value_name = "ITEM")]
    pub overridden: Vec<String>,
    /// Why it is overridden: for the journal, the receipt, reports and the commit's message
    #[arg(long, value_name = "TEXT", requires = "overridden", allow_hyphen_values = true)]
    pub reason: Option<String>,
}

/// What the command line lets land in the name of git's user; `None` where it asks for nothing.
///
/// # Errors
/// Where the plan does not allow it, or has no such item.
pub(super) fn grant(args: &OverrideArgs, opened: &Opened) -> Result<Option<OverrideGrant>, Failure> {
    if args.overridden.is_empty() {
        return Ok(None);
    }
    let Some(allowed) = opened.policy().admin_green.as_ref().filter(|allowed| !allowed.allowed_users.is_empty()) else {
        return Err(Failure::usage("--override: this plan lets nobody override a gate").with_hint(
            "name who may, by name or address, in the plan's policy: `overrides: { adminGreen: { allowedUsers: [ann@example.com] } }`",
        ));
    };
    let items = args.overridden.iter().map(|name| item(name, opened)).collect::<Result<Vec<_>, _>>()?;
    let by = allowed_user(allowed, &opened.repo)?;
    let reason = args.reason.as_deref().map(one_line).transpose()?.filter(|reason| !reason.is_empty());
    if reason.is_none() && allowed.require_reason {
        return Err(
            Failure::usage("--override: this plan wants a reason").with_hint("add --reason \"why it may land\"")
        );
    }
    Ok(Some(OverrideGrant { items, by, reason }))
}

fn item(name: &str, opened: &Opened) -> Result<ItemName, Failure> {
    let names = || opened.plan().items.iter().map(|item| &item.name);
    names().find(|known| known.as_str() == name).cloned().ok_or_else(|| {
        let failure = Failure::usage(format!("--override {}: the plan has no such item", shown(name)));
        match nearest(name, names().map(ItemName::as_str)) {
            Some(other) => failure.with_hint(format!("did you mean {}?", shown(other))),
            None => failure.with_hint(format!("it has {}", list(names().map(ItemName::as_str)))),
        }
    })
}

/// `Name <email>`, if the plan lets that one.
fn allowed_user(allowed: &AdminGreen, repo: &UserRepo) -> Result<String, Failure> {
    let ident = repo.git().run(["var", "GIT_COMMITTER_IDENT"]).map_err(|error| {
        Failure::usage(format!("--override: git does not know who you are: {error}"))
            .with_hint("set user.name and user.email with `git config`")
    })?;
    let ident = String::from_utf8_lossy(&ident);
    // What follows the address is the time of day.
    let who = ident.rsplit_once('>').map_or_else(|| ident.trim().to_owned(), |(who, _)| format!("{}>", who.trim()));
    let (name, email) = who.rsplit_once('<').unwrap_or((&who, ""));
    let (name, email) = (name.trim(), email.trim_end_matches('>'));
    let is_meant = |user: &String| *user == name || *user == who || user.eq_ignore_ascii_case(email);
    if allowed.allowed_users.iter().any(is_meant) {
        return Ok(who);
    }
    Err(Failure::usage(format!("--override: {} may not override gates of this plan", shown(&who)))
        .with_hint(format!("the plan lets {} do that", list(allowed.allowed_users.iter().map(String::as_str)))))
}

fn one_line(reason: &str) -> Result<String, Failure> {
    let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(control) = line.chars().find(|c| is_control(*c)) {
        return Err(Failure::usage(format!("--reason holds the control character U+{:04X}", u32::from(control)))
            .with_hint("it is shown on terminals and pages: leave out what steers them or turns text around"));
    }
    if !line.is_empty() && line.chars().all(|c| c == ' ' || c.width().is_none_or(|cells| cells == 0)) {
        return Err(Failure::usage("--reason holds only characters that show nothing").with_hint("say why it may land"));
    }
    if line.chars().count() > LONGEST_REASON {
        return Err(Failure::usage(format!("--reason is longer than {LONGEST_REASON} characters"))
            .with_hint("say it in a line, and the rest where people discuss it"));
    }
    Ok(line)
}

/// What a dry run says of it, of those items for which it is of use.
pub(super) fn foretell(grant: &OverrideGrant, dry_run: &DryRun) {
    let last = dry_run.items.iter().filter(|item| item.lands_last().is_some());
    let names: Vec<&str> = last.map(|item| item.item.name.as_str()).collect();
    if !names.is_empty() {
        let (names, who) = (list(names), shown(&grant.by));
        speak::note(&format!("{names}: to land after all others, whether the gates pass or not, by leave of {who}\n"));
    }
}
