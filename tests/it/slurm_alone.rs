//! Nodes that share no disk with lexpr: neither its folders nor the exchange, which they reach by network alone.

use std::path::Path;
use std::time::Duration;

use lexpr::gate::elsewhere::Exchange;
use lexpr::gate::elsewhere::slurm::Slurm;
use lexpr::vocabulary::event::GateOutcome;

use crate::cli_world::wait_for;
use crate::land_world::file;
use crate::slurm_world::{BOTH, POOL, RUN, World, command, end, free_ports, not_run, run, word};

/// Starts slurmd where the folders of lexpr, the exchange and the other node's work are empty.
fn alone(folder: &Path) -> Vec<String> {
    let hidden: Vec<String> =
        ["repository.git", "exchange.git", "logs", "work"].map(|name| word(&folder.join(name))).into();
    let script = format!(
        "for folder in {}; do mkdir -p $folder && mount -t tmpfs none $folder || exit; done; exec slurmd \"$@\"",
        hidden.join(" ")
    );
    ["unshare", "-m", "sh", "-c", &script, "slurmd"].map(str::to_owned).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_need_no_disk_that_lexpr_has() {
    if !command("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"])
        .status()
        .is_ok_and(|done| done.success())
    {
        return not_run("folders cannot be hidden from a node here: that takes unshare(1) and the right to mount");
    }
    let Some(world) = World::start_nodes(alone) else { return };
    world.exchange.run(&["config", "daemon.receivePack", "true"]);
    let [port] = free_ports();
    let mut daemon = command("git")
        .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")])
        .arg(format!("--base-path={}", world.cluster.path("").display()))
        .spawn()
        .unwrap();
    wait_for("the exchange listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let commit = world.commit(&[file("big.txt", &"x".repeat(100_000))]);
    for mode in BOTH {
        let mut settings = world.settings(mode);
        let address = format!("git://127.0.0.1:{port}/exchange.git");
        settings.exchange = Exchange::new(world.repo.git.clone(), address, RUN.into());
        let slurm = Slurm::new(settings);
        let name = if mode == POOL { "pool" } else { "batch" };
        let hidden = [world.repo.dir(), world.exchange.dir(), &world.cluster.path("logs")].map(word).join(" ");
        let look = format!("wc -c < big.txt; for hidden in {hidden}; do ls $hidden; done; git rev-parse HEAD; exit 5");
        for (nth, expected) in [(1, look), (2, "exit 5".to_owned())] {
            let mut errand = world.errand_at(commit, &format!("alone-{name}-{nth}"), &expected);
            errand.timeout = Duration::from_secs(60);
            let (came, log) = run(&slurm, &errand).await;
            assert_eq!(came.outcome, GateOutcome::Failed { exit_code: 5 }, "{mode:?}: {log}");
            if nth == 1 {
                assert_eq!(log, format!("100000\n{commit}\n"), "{mode:?}: nothing of lexpr's is to be seen there");
            }
        }
        slurm.clear().await.unwrap();
        assert_eq!(world.exchange.run(&["for-each-ref"]), "");
    }
    end(&mut daemon);
}
