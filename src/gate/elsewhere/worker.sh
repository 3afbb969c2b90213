# Runs one gate on a node and says how it went: what `account.rs` reads. Sent to the node as it is, with all that it is to
# know in variables ERRAND_*, exported or not. Needs sh, git, grep and coreutils; flock(1) where there is one.
#
# What it says goes to standard error, one line each, `lexpr-<what> <nonce> ...`; what the gate prints, to standard
# output. With ERRAND_RESULT set nobody listens: then both go into files, which are pushed to that ref of the exchange.

# A node's own, not those of whoever sent the errand.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER=$(id -un)
LOGNAME=$USER
eval "HOME=~$USER"
export PATH USER LOGNAME HOME

say() { printf 'lexpr-%s %s %s\n' "$1" "$ERRAND_NONCE" "$2" >&2; }

# What git does for the worker asks nobody anything and starts no hook.
export GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -oBatchMode=yes}"
# In the checkout no user's and no machine's settings count; where a remote is spoken to they do.
plain_git() {
    GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null XDG_CONFIG_HOME=/dev/null GIT_ATTR_NOSYSTEM=1 \
        git -c core.hooksPath=/dev/null -c core.fsmonitor=false "$@"
}
# A network that swallows packets must not keep a node for ever.
far_git() {
    [ -z "$stopped" ] && timeout -k 5 "$ERRAND_FETCH_TIMEOUT" git -c core.hooksPath=/dev/null "$@"
}

# Nobody but the gate gets to see it.
environment=$ERRAND_ENV
unset ERRAND_ENV
timeout=$(command -v timeout)

stopped=
running=
killed=
writer=
# `timeout` hands it on to the whole process group of what it runs, and follows with KILL. What was only just forked may
# still take a signal as this shell does, and forget it.
end_running() {
    [ -n "$running" ] || return 0
    while ! [ -e "$own/forked" ] && kill -0 "$running" 2>/dev/null; do
        sleep 0.01
    done
    kill -s TERM "$running" 2>/dev/null
}
trap 'stopped=1; end_running' TERM INT HUP

# What a gate prints goes through a pipe, whose reader is $writer. A stranger that has the pipe must not keep the node.
end_writer() {
    [ -n "$writer" ] || return 0
    # Closed, and not left closed: what is opened next would take its place.
    exec >/dev/null
    pause=0.01
    tries=70
    while [ "$tries" -gt 0 ] && kill -0 "$writer" 2>/dev/null; do
        sleep "$pause"
        [ "$tries" -gt 50 ] || pause=0.1
        tries=$((tries - 1))
    done
    kill -s KILL "$writer" 2>/dev/null
    wait "$writer" 2>/dev/null
    writer=
}

remove() {
    # Folders without write permission are what some package managers leave.
    rm -rf "$1" 2>/dev/null || { chmod -R u+rwX "$1" 2>/dev/null; rm -rf "$1"; }
}

work=${ERRAND_WORK_DIR:-${TMPDIR:-/tmp}/lexpr-$USER}
# Some work on a disk that nodes share.
node=${SLURMD_NODENAME:-$(uname -n)}
own=$work/gate-$ERRAND_TICKET.$node.$$
mkdir -p -m 700 "$work" 2>/dev/null
# In a folder that all may write to, the name may have been taken by somebody else.
if ! [ -d "$work" ] || [ -L "$work" ] || ! [ -O "$work" ] || ! mkdir "$own"; then
    say trouble "the folder $work cannot be used: it must be this user's own, on a disk with room"
    exit 1
fi
trap 'cd /; remove "$own"' EXIT
# What workers left here that were killed.
for left in "$work"/gate-*."$node".*; do
    kill -0 "${left##*.}" 2>/dev/null || remove "$left"
done

if [ -n "$ERRAND_RESULT" ]; then
    exec 2>"$own/account" >"$own/log"
fi
say at "$node ${SLURM_JOB_ID:-0}.${SLURM_STEP_ID:-batch}"

# Says again and again that it is there. Where nobody hears it, what it runs is of no use: then it ends.
beat() {
    trap 'kill "$asleep" 2>/dev/null; exit' TERM
    trap '' PIPE
    while :; do
        sleep "$ERRAND_BEAT" 2>/dev/null &
        asleep=$!
        wait "$asleep"
        say there "" || break
    done
    kill -s TERM "$$"
}
if [ -z "$ERRAND_RESULT" ]; then
    beat </dev/null >/dev/null &
    trap 'kill "'"$!"'" 2>/dev/null; end_writer; cd /; remove "$own"' EXIT
fi

# Makes a commit of the tree $2 in the repository $1, with the words $3.
commit_of() {
    GIT_AUTHOR_NAME=lexpr GIT_AUTHOR_EMAIL=lexpr GIT_COMMITTER_NAME=lexpr GIT_COMMITTER_EMAIL=lexpr \
        plain_git -C "$1" commit-tree -m "lexpr: $3" "$2"
}

# Pushes what was said and printed, as the tree of a commit of its own.
send_back() {
    [ -n "$ERRAND_RESULT" ] || return 0
    result=$own/result.git
    plain_git init -q --bare --object-format="$ERRAND_FORMAT" "$result" || return
    cd "$result" || return
    account=$(plain_git hash-object -w --no-filters "$own/account") || return
    log=$(plain_git hash-object -w --no-filters "$own/log") || return
    tree=$(printf '100644 blob %s\taccount\n100644 blob %s\tlog\n' "$account" "$log" | plain_git mktree) || return
    commit=$(commit_of "$result" "$tree" "what came of $ERRAND_TICKET") || return
    for pause in 1 4 15 0; do
        far_git push -q --no-verify "$ERRAND_EXCHANGE" "+$commit:$ERRAND_RESULT" && return
        [ -z "$stopped" ] || return
        sleep "$pause"
    done
    return 1
}

# $1: the exit status. Nothing is said after it but by who ends the step.
leave() {
    if [ -n "$stopped" ]; then
        exit 143
    fi
    if ! send_back; then
        exit 1
    fi
    exit "$1"
}

trouble() {
    say trouble "$1"
    leave 1
}

# Adds what the pathspecs $2, $3 … name of the folder $1 to the repository, and says which tree it is. Of other repositories nothing.
tree_of() (
    cd "$1" || exit
    shift
    export GIT_DIR="$files" GIT_WORK_TREE=. GIT_INDEX_FILE="$files/index"
    rm -f "$GIT_INDEX_FILE"
    plain_git ls-files -o -z -- "$@" >"$own/names" || exit
    grep -zv '/$' "$own/names" | plain_git update-index -z --add --stdin && plain_git write-tree
)

# Pushes what the gate left in the folder $1 and on its shelf, as the tree of a commit of its own. Of the folder at least what the
# globs mean: lexpr chooses. Prints its name; nothing where nothing is left.
send_files() {
    files=$own/files.git
    folder=$1
    eval "set -- $ERRAND_ARTIFACTS"
    # As they are: no attribute of the tree's changes them.
    plain_git init -q --bare --template= --object-format="$ERRAND_FORMAT" "$files" && mkdir "$files/info" &&
        echo '* -text -ident -filter -working-tree-encoding' >"$files/info/attributes" || return
    nothing=$(plain_git -C "$files" mktree </dev/null) || return
    collected=$nothing
    written=$nothing
    if [ "$#" -gt 0 ] && [ -n "$folder" ]; then
        collected=$(tree_of "$folder" "$@") || return
    fi
    if [ -d "$own/artifacts" ] && ! [ -L "$own/artifacts" ]; then
        written=$(tree_of "$own/artifacts" .) || return
    fi
    if [ "$collected" = "$nothing" ] && [ "$written" = "$nothing" ]; then
        return
    fi
    both=$(printf '040000 tree %s\tcollected\n040000 tree %s\twritten\n' "$collected" "$written" |
        plain_git -C "$files" mktree) || return
    left=$(commit_of "$files" "$both" "what $ERRAND_TICKET left") || return
    far_git -C "$files" push -q --no-verify "$ERRAND_EXCHANGE" "+$left:$ERRAND_FILES" && echo "$left"
}

milliseconds() {
    now=$(date +%s%N)
    case $now in
        *[!0-9]*) now=$(date +%s)000000000 ;;
    esac
    echo "${now%??????}"
}

# Fetches the commit alone into the repository $1.
fetch_into() {
    if ! [ -f "$1/lexpr-made" ]; then
        remove "$1"
        plain_git init -q --bare --object-format="$ERRAND_FORMAT" "$1" && : >"$1/lexpr-made" || return
    fi
    # Locks of a git that was killed: whoever gets here is alone.
    rm -f "$1/shallow.lock" "$1/packed-refs.lock" "$1"/refs/lexpr/*.lock
    # The ref is what the next fetch tells the exchange that it has.
    # Kept as packs, which are easily counted.
    far_git -C "$1" -c fetch.unpackLimit=1 fetch -q --depth=1 --no-tags --no-auto-gc --no-write-fetch-head --recurse-submodules=no --force \
        "$ERRAND_EXCHANGE" "$ERRAND_REF:refs/lexpr/last" || return
    fetched=$(plain_git -C "$1" rev-parse --verify -q refs/lexpr/last)
    if [ "$fetched" != "$ERRAND_COMMIT" ]; then
        echo "the exchange has ${fetched:-nothing} at $ERRAND_REF, and not $ERRAND_COMMIT" >&2
        return 1
    fi
}

# Without flock(1) nothing is kept from gate to gate: there is no other lock that ends with who holds it.
store=$own/store
if command -v flock >/dev/null; then
    store=$work/cache-$ERRAND_CACHE
    exec 9>"$store.lock"
    flock -w "$ERRAND_FETCH_TIMEOUT" 9 || trouble "another worker has had the cache $store for too long"
fi
# A cache that is damaged is passed by: others may borrow from it.
if ! fetch_into "$store" && { store=$own/store; ! fetch_into "$store"; }; then
    trouble "the commit could not be fetched from the exchange"
fi
exec 9>&-

top=$own/tree
if ! plain_git init -q --template= --object-format="$ERRAND_FORMAT" "$top" ||
    ! echo "$store/objects" >"$top/.git/objects/info/alternates" ||
    ! echo "$ERRAND_COMMIT" >"$top/.git/shallow" ||
    ! plain_git -C "$top" checkout -q --detach "$ERRAND_COMMIT" ||
    ! tree=$(plain_git -C "$top" rev-parse --verify -q "HEAD^{tree}"); then
    trouble "the commit could not be checked out"
fi
mkdir "$own/tmp" "$own/artifacts" || trouble "the disk of $work has no room"

# Ends what is left of the process group $1.
end_group() {
    kill -s TERM -- "-$1" 2>/dev/null || return 0
    tries=20
    while [ "$tries" -gt 0 ]; do
        kill -s 0 -- "-$1" 2>/dev/null || return 0
        sleep 0.1
        tries=$((tries - 1))
    done
    kill -s KILL -- "-$1" 2>/dev/null
}

# What has left the process group, as by setsid(1), is known by the folder that the gate alone was told of. Without /proc, or
# grep(1), by nothing.
strays() {
    (cd /proc 2>/dev/null && grep -lsF "LEXPR_ARTIFACTS=$own/artifacts" [0-9]*/environ 2>/dev/null) |
        while IFS=/ read -r pid _; do echo "$pid"; done
}

# As long as for a process group, and once more until what was killed is gone.
end_strays() {
    signal=TERM
    tries=40
    while [ "$tries" -gt 0 ]; do
        left=$(strays)
        [ -n "$left" ] || return 0
        # Each is a word.
        # shellcheck disable=SC2086
        [ -z "$signal" ] || kill -s "$signal" $left 2>/dev/null
        tries=$((tries - 1))
        signal=
        # More may have been started meanwhile.
        [ "$tries" -gt 20 ] || signal=KILL
        sleep 0.1
    done
}

# Runs $1 and leaves its exit status in $2, unless it was told to end. What this shell itself has to say of it is no output of the
# gate's. It stays for as long as $1 does, which else would not have all of its grace.
wrapper='exec 3>&2 2>/dev/null; trap "exit 143" TERM; (exec /bin/sh -c "$1" 2>&3 3>&-); echo "$?" >"$2"'

# Runs the command $1 in the folder $2 for at most $3 seconds. $status: as it exited; empty where its time was up.
run() {
    rm -f "$own/status" "$own/forked"
    begun=$(milliseconds)
    (
        : >"$own/forked"
        cd "$2" || exit
        # Where no name that the gate's environment sets can reach it.
        set -- "$timeout" "$ERRAND_GRACE" "$3" "$1" "$own/status" "$own/artifacts" "$wrapper"
        unset GIT_SSH_COMMAND ERRAND_NONCE ERRAND_TICKET ERRAND_EXCHANGE ERRAND_CACHE ERRAND_REF ERRAND_RESULT \
            ERRAND_COMMIT ERRAND_FORMAT ERRAND_WORK_DIR ERRAND_SETUP ERRAND_SETUP_TIMEOUT ERRAND_COMMAND ERRAND_CWD \
            ERRAND_ARTIFACTS ERRAND_FILES ERRAND_TIMEOUT ERRAND_GRACE ERRAND_BEAT ERRAND_FETCH_TIMEOUT ERRAND_LOG_HEAD ERRAND_LOG_TAIL SLURM_EXPORT_ENV
        export TMPDIR="$own/tmp"
        export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_CEILING_DIRECTORIES="$own"
        eval "$environment"
        export LEXPR_ARTIFACTS="$6"
        # What it runs is a process group of its own.
        exec "$1" -k "$2" "$3" /bin/sh -c "$7" sh "$4" "$5"
    ) </dev/null 2>&1 &
    running=$!
    [ -z "$stopped" ] || end_running
    while :; do
        wait "$running"
        of_timeout=$?
        kill -0 "$running" 2>/dev/null || break
    done
    ran=$(($(milliseconds) - begun))
    end_group "$running"
    running=
    end_strays
    status=
    if [ -s "$own/status" ]; then
        read -r status <"$own/status"
    elif [ "$of_timeout" != 124 ] && [ "$ran" -lt "$((${3%.*} * 1000))" ]; then
        # It ended its whole process group.
        status=$of_timeout
    fi
}

# The control group of the step, where Slurm makes one: $1 is a file of it.
of_step() {
    while IFS=: read -r number _ path; do
        case $number:$path in
            0:*/step_*) cat "/sys/fs/cgroup${path%%/user/*}/$1" 2>/dev/null; return ;;
        esac
    done </proc/self/cgroup
}
killed_for_memory() {
    of_step memory.events | while read -r what count; do
        [ "$what" = oom_kill ] && echo "$count"
    done
}

if [ -z "$ERRAND_RESULT" ]; then
    mkfifo "$own/pipe" || trouble "a pipe could not be made"
    # Whatever tells the gate to end, its last words come through.
    (trap '' TERM INT HUP && exec cat "$own/pipe") &
    writer=$!
    exec >"$own/pipe"
fi

if [ -n "$ERRAND_SETUP" ]; then
    run "$ERRAND_SETUP" "$top" "$ERRAND_SETUP_TIMEOUT"
    [ -z "$stopped" ] || leave 143
    [ "$status" = 0 ] || trouble "the setup \`$ERRAND_SETUP\` ${status:+failed with exit code }${status:-took longer than $ERRAND_SETUP_TIMEOUT s}"
    # Only what git ignores outlasts it.
    plain_git -C "$top" reset -q --hard "$ERRAND_COMMIT" && plain_git -C "$top" clean -qffd ||
        trouble "the checkout could not be made clean after the setup"
fi

if [ -n "$ERRAND_RESULT" ]; then
    # The beginning and the end, since a disk has an end, too.
    mkfifo "$own/pipe" || trouble "a pipe could not be made"
    # As it comes, for who listens.
    unbuffered=$(command -v stdbuf) && unbuffered="$unbuffered -o0"
    { $unbuffered head -c "$ERRAND_LOG_HEAD"; tail -c "$ERRAND_LOG_TAIL" >"$own/log-end"; } <"$own/pipe" >>"$own/log" &
    writer=$!
    exec >"$own/pipe"
fi

before=$(killed_for_memory)
of_gate=
say begun "$(date +%s)"
inside=$(cd "$top/$ERRAND_CWD" 2>/dev/null && pwd -P)
case $inside/ in
    "$(cd "$top" && pwd -P)"/*)
        of_gate=$inside
        run "$ERRAND_COMMAND" "$inside" "$ERRAND_TIMEOUT"
        say ran "$ran"
        ;;
    *)
        echo "lexpr: the gate's cwd \`$ERRAND_CWD\` is not a folder of this tree"
        status=126
        ;;
esac
peak=$(of_step memory.peak)
[ -z "$peak" ] || say memory "$peak"
[ "$(killed_for_memory)" = "$before" ] || say short-of-memory ""

end_writer
if [ -n "$ERRAND_RESULT" ]; then
    # Less than that was all of it.
    [ "$(wc -c <"$own/log-end")" -lt "$ERRAND_LOG_TAIL" ] ||
        printf '\n[lexpr: what came here is left out; policy.logMaxMB says how much is kept]\n' >>"$own/log"
    cat "$own/log-end" >>"$own/log"
fi

# Where nothing was asked for, and the shelf is empty, there is nothing to send.
if [ -n "$stopped" ] || { [ -z "$ERRAND_ARTIFACTS" ] && rmdir "$own/artifacts" 2>/dev/null; }; then
    :
elif left=$(send_files "$of_gate" 2>"$own/why"); then
    [ -z "$left" ] || say left "$left"
else
    # It changes no verdict.
    say lost "$(tail -n 1 "$own/why")"
fi

cd /
remove "$top"
remove "$own/tmp"
remove "$own/artifacts"
set -- "$store"/objects/pack/*.pack
if [ "$store" != "$own/store" ] && [ "$#" -gt 50 ] && exec 9>"$store.lock" && flock -n 9; then
    # What others borrow from it stays for longer than any gate runs.
    plain_git -C "$store" -c gc.autoDetach=false -c gc.pruneExpire=2.weeks.ago gc --auto --quiet >&2
    exec 9>&-
fi
[ -z "$stopped" ] || leave 143
if [ -z "$status" ]; then
    # `timeout` had to kill it, and itself with it.
    [ "$of_timeout" != 137 ] || killed=KILL
    say time-up "$killed"
    leave 124
fi
say proof "$tree $status"
leave "$status"
