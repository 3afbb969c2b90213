# The recipes people use; `just` alone lists them.

default:
    @just --list

# everything a commit must pass
ci:
    bash .ci/run

# the tests
test:
    cargo test

# kill lexpr at every place and compare; SEED chooses other passages, see docs/reliability.md
prove kills="300" seed="20261121":
    LEXPR_PROVE_KILLS={{kills}} LEXPR_PROVE_SEED={{seed}} cargo test --features failpoints --test crash
    just simulate

# run so many disturbed worlds in virtual time, each made from one number, beginning with FROM
simulate seeds="50000" from="0":
    LEXPR_SIM_SEEDS={{seeds}} LEXPR_SIM_FROM={{from}} cargo test --release --test it simulation_of_many_seeds

# one plan of so many items by each runtime, with what a gate takes; see docs/runtimes.md
runtimes items="100":
    LEXPR_RUNTIMES_ITEMS={{items}} cargo test --test it invariant_8_the_same_lands -- --nocapture

# eight runs at once on one target that a ninth moves, some killed and resumed; see docs/reliability.md
storm rounds="100" seed="20261121":
    LEXPR_STORM_ROUNDS={{rounds}} LEXPR_STORM_SEED={{seed}} cargo test --test it storm -- --nocapture

# try plans, journals and runs that a fuzzer makes, so many of each; needs nightly and cargo-fuzz
fuzz executions="1000000":
    LEXPR_FUZZ_CORPUS="$PWD/fuzz/corpus" cargo test --test it fuzz_seeds
    for target in plan journal run; do \
        RUSTC_WRAPPER="$PWD/fuzz/watch-own" cargo +nightly fuzz run -O -a -s none --no-trace-compares $target -- \
            -runs={{executions}} -rss_limit_mb=200 -timeout=10 -max_len=4096 -entropic=0 \
            -dict=fuzz/$target.dict || exit 1; \
    done

# land so many items in one process, and make so many runs in one repository, with a release build
soak items="10000" runs="200":
    cargo build --release
    LEXPR_SOAK_BINARY="$PWD/target/release/lexpr" LEXPR_SOAK_ITEMS={{items}} LEXPR_SOAK_RUNS={{runs}} \
        cargo test --test it soak -- --nocapture --test-threads 1

# compare so many merges of a repository, and of random pairs of its branches, with git's
differential repository merges="2500":
    LEXPR_DIFFERENTIAL={{repository}} LEXPR_DIFFERENTIAL_MERGES={{merges}} \
        cargo test --release --test it differential -- --nocapture

# draw the runs that docs/strategies.md shows anew
pictures:
    cargo build
    for strategy in pyramid groups batch train; do \
        target/debug/lexpr simulate --random 12 --max-workers 3 --fail 8 --clash 12 --flake 5 --seed 352 \
            --format svg --trace --only $strategy > docs/strategies/$strategy.svg || exit 1; \
    done

# write the table of what every strategy costs anew, docs/strategies-table.md: about a quarter of an hour
strategies-table:
    cargo build --release
    python3 benches/strategies.py target/release/lexpr > docs/strategies-table.md

# write the schemas anew after a change of their types
schemas:
    cargo build
    for of in plan report event forecast simulation doctor; do target/debug/lexpr schema $of > schemas/$of.schema.json; done
    target/debug/lexpr schema plan --markdown > docs/plan.md

# watch a dozen branches land
demo:
    cargo run --release -- demo
