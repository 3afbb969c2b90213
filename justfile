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

# eight runs at once on one target that a ninth moves, some killed and resumed; see docs/reliability.md
storm rounds="100" seed="20261121":
    LEXPR_STORM_ROUNDS={{rounds}} LEXPR_STORM_SEED={{seed}} cargo test --test it storm -- --nocapture

# write the schemas anew after a change of their types
schemas:
    cargo build
    for of in plan report event; do target/debug/lexpr schema $of > schemas/$of.schema.json; done

# watch a dozen branches land
demo:
    cargo run --release -- demo
