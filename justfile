# The recipes people use; `just` alone lists them.

default:
    @just --list

# everything a commit must pass
ci:
    bash .ci/run

# the tests
test:
    cargo test

# write the schemas anew after a change of their types
schemas:
    cargo build
    for of in plan report event; do target/debug/lexpr schema $of > schemas/$of.schema.json; done

# watch a dozen branches land
demo:
    cargo run --release -- demo
