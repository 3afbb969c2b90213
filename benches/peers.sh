#!/usr/bin/env bash
# What lexpr takes beside what people use instead, side by side in one run; docs/performance.md has what came of it.
#
#   benches/peers.sh CASE…       folders made by benches/cases.py; without one, small ones are made and used
#
# Installs nothing: of git, git-branchless and ninja it takes what is there, and says what it skips. Every run has a
# folder of its own and nothing is removed before the end: file systems are slow where many files went a moment ago.
# RUNS (5) of each, in turn, and the medians; LEXPR is the program to measure (target/release/lexpr).
set -euo pipefail
case "${1:-}" in -*) sed -n "2,8s/^# \?//p" "$0"; exit ;; esac
# Folders are named from where the caller is.
cases=()
for case in "$@"; do
    [ -d "$case/repo.git" ] || { echo "$case: no folder that benches/cases.py made" >&2; exit 2; }
    cases+=("$(realpath "$case")")
done
[ -z "${LEXPR:-}" ] || LEXPR=$(realpath "$LEXPR")
cd "$(dirname "$0")/.."
export LC_ALL=C GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.com GIT_COMMITTER_NAME=Ann GIT_COMMITTER_EMAIL=ann@example.com
runs=${RUNS:-5}
lexpr=$(realpath "${LEXPR:-target/release/lexpr}")
[ -x "$lexpr" ] || { echo "no $lexpr: cargo build --release first" >&2; exit 2; }
room=$(mktemp -d "${TMPDIR:-/tmp}/lexpr-peers.XXXXXX")
trap 'rm -rf "$room"' EXIT
export XDG_CACHE_HOME=$room/cache

now() { date +%s%N; }
fresh() { mktemp -d "$room/XXXXXX"; }

# The median of what was measured under a name, in seconds.
times() { sort -n "$room/$1.times" | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }'; }
once() { # NAME PREPARE COMMAND: PREPARE makes a folder and prints it; COMMAND is run in it
    local name=$1 folder begun
    folder=$($2)
    # What others wrote is on the disk: nobody who syncs waits for it.
    sync
    begun=$(now)
    (cd "$folder" && $3 "$folder") >"$folder/out" 2>&1 || { tail -n 5 "$folder/out" >&2; echo "$name failed" >&2; exit 1; }
    echo "$begun $(now)" | awk '{ printf "%.4f\n", ($2 - $1) / 1e9 }' >>"$room/$name.times"
}
# in_turn NAME PREPARE COMMAND …: all of them once uncounted, then RUNS times in turn
in_turn() {
    local round at
    for round in $(seq 0 "$runs"); do
        for ((at = 1; at <= $#; at += 3)); do
            once "${@:at:1}" "${@:at+1:1}" "${@:at+2:1}"
        done
        if [ "$round" = 0 ]; then
            for ((at = 1; at <= $#; at += 3)); do rm "$room/${!at}.times"; done
        fi
    done
}
row() { # TEXT OURS THEIRS: how many times as long they take
    awk -v text="$1" -v ours="$(times "$2")" -v theirs="$(times "$3")" -v who="$4" \
        'BEGIN { printf "| %s | %.3f s | %s %.3f s | %.2f |\n", text, ours, who, theirs, theirs / ours }'
}
skipped() { echo "| $1 | | $2: not installed, skipped | |"; }

copy() { local to; to=$(fresh); cp -r "$case/repo.git" "$to/repo"; echo "$to"; }
# A checkout with the branches, for peers that need one.
checkout() {
    local to; to=$(fresh)
    git clone -q --no-hardlinks "$case/repo.git" "$to/repo"
    git -C "$to/repo" fetch -q origin '+refs/heads/*:refs/heads/*' --update-head-ok
    echo "$to"
}
ours() {
    "$lexpr" merge "$case/plan.yaml" --repo "$1/repo" --execute --max-workers "$workers" --progress none \
        --metrics-file "$room/metrics"
}
# How many trees git was asked to merge, of all that the last run merged.
asked_git() { awk '/^lex_pr_tree_merges_total/ { n[$1 ~ /git/] += $2 } END { printf "%d of %d", n[1], n[0] + n[1] }' "$room/metrics"; }
# All proven and nothing landed, as whoever is at work in the target when the run wants to land keeps it locked.
proven() {
    local to; to=$(copy)
    sed "s|run: 'true'|run: ': > \"\$LEXPR_BENCH_LOCK\"'|; s|^items:|policy: { performance: { batchSize: 100000 } }\n&|" "$case/plan.yaml" >"$to/plan.yaml"
    LEXPR_BENCH_LOCK=$to/repo/refs/heads/main.lock "$lexpr" merge "$to/plan.yaml" --repo "$to/repo" --execute \
        --max-workers "$workers" --progress none >"$to/before" 2>&1 || [ $? = 4 ] || { cat "$to/before" >&2; exit 1; }
    rm "$to/repo/refs/heads/main.lock"
    echo "$to"
}
go_on() {
    "$lexpr" resume --repo "$1/repo" --progress none
    [ "$(ls "$1/repo/lexpr/runs" | wc -l)" = 1 ] && [ ! -e "$1/repo/refs/heads/main.lock" ] # no gate ran
}
dry() { "$lexpr" merge "$case/plan.yaml" --repo "$1/repo"; }
loop_of_merges() {
    cd "$1/repo" && git checkout -q --detach main
    while read -r at _; do git merge -q --no-edit "$at" || git merge --abort; done <"$case/heads"
}
loop_of_merge_trees() {
    cd "$1/repo" && at=$(git rev-parse main)
    while read -r head _; do
        if tree=$(git merge-tree --write-tree --no-messages "$at" "$head"); then
            at=$(git commit-tree -p "$at" -p "$head" -m merge "$tree")
        fi
    done <"$case/heads"
}
branchless() {
    cd "$1/repo" && git checkout -q --detach main && git branchless init --main-branch main >/dev/null
    git branchless test run --no-cache --strategy worktree --jobs "$workers" --exec true \
        "$(awk '{ print $1 }' "$case/heads" | paste -sd+ | sed 's/+/ + /g')"
}
edges() {
    local to; to=$(fresh)
    { printf 'rule gate\n  command = true\n'; for at in $(seq "$items"); do echo "build edge$at: gate"; done; } >"$to/build.ninja"
    echo "$to"
}
run_edges() { ninja -C "$1" -j "$workers"; }

echo "$(uname -sr), $(nproc) cores, $(git --version), $("$lexpr" --version), medians of $runs"
echo
echo "| | lexpr | beside | times as long as lexpr |"
echo "|---|---|---|---|"
if [ ${#cases[@]} = 0 ]; then
    python3 benches/cases.py small "$room/case" 200
    cases=("$room/case")
fi
for case in "${cases[@]}"; do
    items=$(wc -l <"$case/heads")
    name="$(basename "$case") ($items branches)"
    workers=2
    in_turn dry copy dry merge-tree copy loop_of_merge_trees
    row "$name: dry run (every branch on the base and all on each other)" dry merge-tree "loop of merge-tree and commit-tree (on each other alone)"
    in_turn ours copy ours merges checkout loop_of_merges
    echo "| $name: trees that git was asked to merge | $(asked_git) | | |"
    in_turn go_on proven go_on
    echo "| $name: landed, all verdicts known | $(times go_on) s | | |"
    row "$name: landed, gate \`true\`, 2 workers" ours merges "loop of git merge, no gate"
    if command -v git-branchless >/dev/null; then
        in_turn ours2 copy ours branchless checkout branchless
        row "$name: the same" ours2 branchless "git-branchless test, 2 jobs"
    else
        skipped "$name: the same" git-branchless
    fi
done
# From the start of the process to that of the first gate: slots warm from a run before, so in one place.
first_gate() {
    local at started
    case=$room/small-200
    [ -d "$case" ] || python3 benches/cases.py small "$case" 200
    sed "s|run: 'true'|run: 'date +%s%N >>\"\$LEXPR_BENCH_FIRST\"'|" "$case/plan.yaml" >"$room/first.yaml"
    export LEXPR_BENCH_FIRST=$room/first
    for at in $(seq 0 "$runs"); do
        [ ! -d "$room/warm" ] || mv "$room/warm" "$room/warm-$at"
        cp -r "$case/repo.git" "$room/warm"
        : >"$room/first"
        started=$(now)
        "$lexpr" merge "$room/first.yaml" --repo "$room/warm" --execute --progress none >"$room/first.out"
        [ "$at" = 0 ] || echo "$started $(sort -n "$room/first" | head -n 1)" | awk '{ printf "%.4f\n", ($2 - $1) / 1e9 }' >>"$room/first.times"
    done
    echo "| 200 branches: from the start to the first gate, slots warm | $(times first) s | | |"
}
# As many gates at once as there are cores, each busy for a while: the share of all cores' time that is theirs. On cones
# alone: what proves an apex runs by itself.
busy_cores() {
    local to begun
    case=$room/small-50
    [ -d "$case" ] || python3 benches/cases.py small "$case" 50
    to=$(copy)
    sed "s|run: 'true'|run: 'i=0; while [ \$i -lt 400000 ]; do i=\$((i + 1)); done; times >>\"\$LEXPR_BENCH_TIMES\"', at: [cone] }, { name: last, run: 'true', at: [apex]|" "$case/plan.yaml" >"$to/plan.yaml"
    begun=$(now)
    LEXPR_BENCH_TIMES=$to/times "$lexpr" merge "$to/plan.yaml" --repo "$to/repo" --execute --max-workers "$(nproc)" --progress none >"$to/out"
    # The first line of each two is the shell's own: minutes and seconds of user and system time.
    awk -v wall=$(($(now) - begun)) -v cores="$(nproc)" \
        'NR % 2 { gsub("m", " "); gsub("s", ""); busy += $1 * 60 + $2 + $3 * 60 + $4 } END { printf "| 50 branches, gates of %.2f s of work each, as many workers as cores: cores kept busy by gates | %.1f %% | | |\n", busy / NR * 2, 100 * busy / (wall / 1e9 * cores) }' "$to/times"
}
first_gate
busy_cores
for items in 10 50 100 200 1000; do
    for workers in 2 4 8 16; do
        [ "$items" != 1000 ] || [ "$workers" = 8 ] || continue
        case=$room/small-$items
        [ -d "$case" ] || python3 benches/cases.py small "$case" "$items"
        if command -v ninja >/dev/null; then
            in_turn "ours-$items-$workers" copy ours "ninja-$items-$workers" edges run_edges
            row "$items branches, $workers workers, gate \`true\`" "ours-$items-$workers" "ninja-$items-$workers" "ninja, $items edges of \`true\`,"
        else
            skipped "$items branches, $workers workers" ninja
        fi
    done
done
