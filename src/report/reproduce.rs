//! The command that runs a failed gate again on the commit that it failed on.

use crate::vocabulary::names::{GateName, ItemName, RunId};
use crate::wording::shell_word;

/// For any shell that knows `$'…'` where a name has characters that cannot be shown, else for any.
pub fn command(item: &ItemName, gate: &GateName, run: &RunId) -> String {
    let words = [item.as_str(), gate.as_str(), run.as_str()];
    let ends_options = if words.iter().any(|word| word.starts_with('-')) { "-- " } else { "" };
    format!("lexpr gate run {ends_options}{}", words.map(shell_word).join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_command_as_a_shell_reads_them() {
        let of = |item: &str, gate: &str| command(&item.into(), &gate.into(), &"r1".into());
        assert_eq!(of("feature/auth", "unit"), "lexpr gate run feature/auth unit r1");
        assert_eq!(of("it's mine", "a $HOME `b`"), r"lexpr gate run 'it'\''s mine' 'a $HOME `b`' r1");
        assert_eq!(of("-x", "unit"), "lexpr gate run -- -x unit r1");
        assert_eq!(of("a\n'b", "\u{202e}\u{1b}é"), r"lexpr gate run $'a\n\'b' $'\342\200\256\033é' r1");
        assert_eq!(of("", "~"), "lexpr gate run '' '~' r1");
    }
}
