//! The completions, in the shells that they are for.

#![expect(clippy::disallowed_methods, reason = "a person completes in a shell")]

use std::process::Command;

use crate::cli_world::{Said, World};

/// Whether the shell is here. CI has all of them: there a test that would try nothing fails.
fn has(shell: &str) -> bool {
    let is_here = Command::new(shell).args(["-c", "exit 0"]).status().is_ok_and(|status| status.success());
    let is_wanted = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(is_here || !is_wanted, "there is no {shell}, which this test is about");
    is_here
}

/// A world with the completions of a shell in its home, and their path.
fn installed(shell: &str, name: &str) -> (World, String) {
    let world = World::new(&[("README.md", "# A project\n")], &[]);
    let script = world.lexpr(["completions", shell]).expect(0).stdout;
    let path = world.path("home").join(name);
    std::fs::write(&path, script).unwrap();
    (world, path.display().to_string())
}

fn words(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    let (world, script) = installed("bash", "lexpr.bash");
    let complete = |line: &str| {
        let line = format!(
            ". '{script}'; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _lexpr lexpr \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let said = Said::from(
            world.shell(&format!("exec bash --norc -c '{}'", line.replace('\'', r"'\''"))).output().unwrap(),
        );
        assert_eq!(said.stderr, "", "{line}");
        said.stdout
    };
    assert_eq!(words(&complete("lexpr me")), ["merge"]);
    assert_eq!(words(&complete("lexpr plan di")), ["diff"]);
    assert_eq!(words(&complete("lexpr merge --overr")), ["--override"]);
}

#[test]
fn fish_completes_commands_and_options() {
    if !has("fish") {
        return;
    }
    let (world, script) = installed("fish", "lexpr.fish");
    let complete = |line: &str| {
        let command = format!("exec fish --no-config -c 'source {script}; complete -C \"{line}\"'");
        let said = Said::from(world.shell(&command).output().unwrap()).expect(0);
        assert_eq!(said.stderr, "", "{line}");
        said.stdout
    };
    assert_eq!(words(&complete("lexpr me")), ["merge"]);
    assert_eq!(words(&complete("lexpr plan di")), ["diff"]);
    assert_eq!(words(&complete("lexpr merge --overr")), ["--override"]);
    assert_eq!(words(&complete("lexpr merge --progress p")), ["plain"]);
}

/// Completes `$LINE` in a zsh on a terminal of its own, and writes what it offers to `$OFFERED`.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty inner zsh -f -i
zpty -w inner "
PS1=
fpath=($HOME \$fpath)
autoload -Uz compinit
compinit -u -d $HOME/dump
bindkey '^I' complete-word
compadd () {
  if [[ \${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd \"\$@\"; return \$?; fi
  local -a offered
  builtin compadd -A offered \"\$@\"
  print -rl -- \$offered >> $OFFERED
  builtin compadd \"\$@\"
}
leave () { exit }
comppostfuncs=(leave)
"
zpty -w -n inner "$LINE"$'\t'
while zpty -r inner shown; do print -rn -- $shown; done
zpty -d inner
"#;

#[test]
fn zsh_completes_commands_and_options_and_starts_nothing_for_it() {
    if !has("zsh") {
        return;
    }
    let (world, _) = installed("zsh", "_lexpr");
    let load = "exec zsh -f -c 'fpath=($HOME $fpath); autoload -Uz compinit; compinit -u -d $HOME/dump; \
                autoload +X _lexpr && print $_comps[lexpr]'";
    let loaded = Said::from(world.shell(load).output().unwrap()).expect(0);
    assert_eq!((loaded.stdout.as_str(), loaded.stderr.as_str()), ("_lexpr\n", ""));

    let script = world.path("complete.zsh");
    std::fs::write(&script, ZSH).unwrap();
    let offered = world.path("offered");
    let complete = |line: &str| {
        std::fs::write(&offered, "").unwrap();
        let mut zsh = world.shell("exec zsh -f \"$SCRIPT\"");
        zsh.env("SCRIPT", &script).env("LINE", line).env("OFFERED", &offered).env("TERM", "dumb");
        let said = Said::from(zsh.output().unwrap()).expect(0);
        assert!(!said.stdout.contains("not found"), "{line}: {}", said.stdout);
        std::fs::read_to_string(&offered).unwrap()
    };
    assert_eq!(words(&complete("lexpr me")), ["merge"]);
    assert_eq!(words(&complete("lexpr plan di")), ["diff"]);
    assert_eq!(words(&complete("lexpr merge --overr")), ["--override"]);
    assert_eq!(words(&complete("lexpr completions f")), ["fish"]);
    // A colon in the name of a value would be read as the command that completes it.
    complete("lexpr merge --metrics-addr ");
    complete("lexpr resume --metrics-addr ");
}
