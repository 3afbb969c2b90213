use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: a guard is started per worker and must be small and quick.
    if std::env::args_os().nth(1).is_some_and(|first| first == "guard") {
        return lexpr::gate::guard::run();
    }
    ExitCode::SUCCESS
}
