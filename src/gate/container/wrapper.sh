# Inside the container, as its first process: runs the gate's command and then says, in a file that lexpr reads, which
# commit it found and what the command came to. Who is first ignores TERM unless it is told what to do; and nothing but
# a shell is asked of an image.
#
# $1: what lexpr knows its answer by. The rest: the command, word by word.
ticket=$1
shift
head=none
read -r head <"$LEXPR_TREE_FOLDER/.git/HEAD"
unset LEXPR_TREE_FOLDER
# Whoever ends a container (an engine that is stopped does) tells it so first; or it was ended without a word, and started
# again on the tree as it was left.
told=0
[ -e /lexpr/proof/begun ] && told=1
: >/lexpr/proof/begun
# In a session of its own, where the image can: a gate that ends its process group (`kill 0`) is not to be taken for them.
command -v setsid >/dev/null 2>&1 && set -- setsid "$@"
# Whoever is killed for want of memory, it is to be somebody of the gate's, and not who tells of that.
(
    { echo 500 >/proc/self/oom_score_adj; } 2>/dev/null
    exec "$@"
) &
gate=$!
trap 'told=1; kill -TERM "$gate" 2>/dev/null' TERM INT HUP
wait "$gate"
code=$?
# A signal ends the wait, and not always the command.
while kill -0 "$gate" 2>/dev/null; do
    wait "$gate"
    code=$?
done
# Whom the kernel killed for want of memory: the engine sees no more than the first process.
killed=0
for events in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    [ -r "$events" ] && while read -r what count; do
        [ "$what" = oom_kill ] && killed=$count
    done <"$events"
done
echo "$ticket $head $code $killed $told" >/lexpr/proof/answer
exit "$code"
