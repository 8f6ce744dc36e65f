#!/usr/bin/env bash
# Many seeds of the simulation, by hand: a hundred at a time, in any number of sessions.
#
#   tests/simulation/run.sh 20000                   seeds 0 to 19,999
#   tests/simulation/run.sh 5000..10000             these
#   SIMULATION_STORES=buckets tests/simulation/run.sh 20000
#                                                   the same, with all stores in buckets
#
# What has passed is noted in $SIMULATION_DONE (target/simulation/done, or done-buckets) and not run again: stop it at any time, and start
# it again. MINUTES=60 stops it after that time. A seed that fails is told, and does not stop the others; the status is 0 only if all of
# the seeds that were asked for have passed by now.
set -uo pipefail
cd "$(dirname "$0")/../.."

[ $# = 1 ] || { echo "usage: run.sh SEEDS, such as 20000 or 5000..10000" >&2; exit 2; }
case $1 in *..*) first=${1%%..*} end=${1##*..} ;; *) first=0 end=$1 ;; esac
target=${CARGO_TARGET_DIR:-target}
done=${SIMULATION_DONE:-$target/simulation/done${SIMULATION_STORES:+-$SIMULATION_STORES}}
mkdir -p "$(dirname "$done")" && touch "$done" || exit 2

# Optimised, and built once: cargo is not asked for each hundred.
program=$(cargo test --locked --release --features testkit --test simulation --no-run 2>&1 | tee /dev/stderr \
    | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
[ -x "$program" ] || { echo "the simulation does not build" >&2; exit 2; }

started=$SECONDS
failed=0
for ((from = first; from < end; from += 100)); do
    to=$((from + 100 < end ? from + 100 : end))
    grep -qx "$from..$to" "$done" && continue
    if [ -n "${MINUTES:-}" ] && [ $((SECONDS - started)) -ge $((MINUTES * 60)) ]; then
        echo "$MINUTES minutes are over before seed $from"
        exit 1
    fi
    if SIMULATION_SEEDS=$from..$to nice "$program" nothing_is_lost >"$done.log" 2>&1; then
        echo "$from..$to" >>"$done"
    else
        failed=1
        echo "of $from..$to:"
        grep -E "^seed [0-9]+ failed|panicked at" -A 1 "$done.log"
    fi
done
echo "$(wc -l <"$done") ranges of a hundred have passed, in $((SECONDS - started)) s of this session"
exit $failed
