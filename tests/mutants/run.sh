#!/usr/bin/env bash
# Mutation tests of commit, collection, mending and inventory: each patch in this folder breaks one promise of the source, and a
# named test must fail because of it.
#
#   tests/mutants/run.sh               all mutants
#   tests/mutants/run.sh 03 17         only these
#   tests/mutants/run.sh --no-sound    skips the first step
#
# First the named tests must pass without a mutant, or their failure would prove nothing. Then the script applies one patch at a time
# to a copy of the tree, builds, runs only the patch's test, expects it to fail, and takes the patch back. It ends with a table. The
# status is 0 only if each mutant was caught. A patch that does not apply any more, that does not build, or whose test does not
# exist, counts as a failure: such a mutant has to be written anew.
#
# It takes about fifteen seconds a mutant on two cores, after a first build of some minutes. The copy and its build are in
# `target/mutants` (or in $MUTANTS_DIR) and are used again by the next run; the tree itself is not touched.
#
# The header of a patch:
#   # breaks: the promise
#   # caught by: tests/FILE.rs NAME [seeds A..B]      the seeds are those of the simulation, one of which must fail
set -uo pipefail
shopt -s nullglob

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${MUTANTS_DIR:-$root/target/mutants}
tree=$work/tree
export CARGO_TARGET_DIR=$work/target CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=1
# The copy may lie inside of the repository, and is none itself: patches apply to it all the same.
export GIT_CEILING_DIRECTORIES=$work
# A mutant may hang: that is a failure of its test. On a machine that does more than this, MUTANTS_LONGEST sets more seconds.
longest=${MUTANTS_LONGEST:-300}

die() { echo "$*" >&2; exit 2; }

sound=yes
wanted=()
for argument; do
    case $argument in
        --no-sound) sound= ;;
        [0-9]*) wanted+=("$argument") ;;
        *) die "unknown argument: $argument (usage: run.sh [--no-sound] [NN...])" ;;
    esac
done

patches=()
if [ ${#wanted[@]} = 0 ]; then
    patches=("$here"/*.patch)
else
    for number in "${wanted[@]}"; do
        found=("$here/$number"-*.patch)
        [ ${#found[@]} = 1 ] || die "${#found[@]} patches have the number $number"
        patches+=("${found[0]}")
    done
fi
[ ${#patches[@]} -gt 0 ] || die "there is no patch"

# A header's line, without its name.
header() { sed -n "s/^# $2: //p" "$1" | head -n 1; }

# Times of files are kept, so that only what has changed is built again.
fresh_tree() {
    rm -rf "$tree"
    mkdir -p "$tree" || die "cannot create $tree"
    (cd "$root" && git ls-files -z --cached --others --exclude-standard -- ':!tests/mutants' \
        | while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done \
        | tar --null -T - -cf -) | tar -xf - -C "$tree" || die "cannot copy the tree"
}

# Builds the test that a patch names. Output goes to $log.
build() { (cd "$tree" && cargo test --locked --features testkit,encryption --test "$1" --no-run) >"$log" 2>&1; }

# Runs a test: 0 where it passed, 1 where it failed, 3 where there is no such test.
run() {
    local test=$1 name=$2 seeds=$3
    (cd "$tree" && SIMULATION_SEEDS=$seeds && { [ -z "$seeds" ] || export SIMULATION_SEEDS; } \
        && timeout "$longest" cargo test --locked --features testkit,encryption --test "$test" -- --exact "$name") >"$log" 2>&1
    local status=$?
    grep -q '^running 0 tests' "$log" && return 3
    [ $status = 124 ] && { echo "(longer than $longest s)" >>"$log"; return 1; }
    [ $status = 0 ] && return 0
    grep -q '^test result: FAILED' "$log" && return 1
    # It was ended from outside, or aborted: by a stack that is full, for example.
    grep -q '^running 1 test' "$log" && return 1
    return 3
}

# Sets test, name and seeds from a patch's header.
parse() {
    local caught
    caught=$(header "$1" 'caught by')
    read -r file name word seeds <<<"$caught"
    test=$(basename "$file" .rs)
    seeds=${seeds:-}
    [ -n "$(header "$1" breaks)" ] && [ -n "${name:-}" ] && [ -f "$root/tests/$test.rs" ]
}

fresh_tree
log=$work/log
failed=0
lines=()
tell() { lines+=("$(printf '%-58s %-13s %s' "$1" "$2" "$3")"); echo "${lines[-1]}"; }

declare -A passes
for patch in "${patches[@]}"; do
    label=$(basename "$patch" .patch)
    if ! parse "$patch"; then
        tell "$label" 'NO HEADER' 'it needs "# breaks: ..." and "# caught by: tests/FILE.rs NAME"'; failed=1; continue
    fi
    what="tests/$test.rs $name${seeds:+ seeds $seeds}"
    if ! (cd "$tree" && git apply --check "$patch") 2>"$log"; then
        tell "$label" 'STALE' "the patch does not apply any more"; cat "$log"; failed=1; continue
    fi
    if [ -n "$sound" ] && [ -z "${passes[$what]:-}" ]; then
        if ! build "$test"; then tail -n 30 "$log"; die "tests/$test.rs does not build without a mutant"; fi
        run "$test" "$name" "$seeds"
        case $? in
            0) passes[$what]=yes ;;
            1) tail -n 30 "$log"; die "$what fails without a mutant" ;;
            *) tell "$label" 'NO TEST' "$what"; failed=1; continue ;;
        esac
    fi
    before=$(cd "$tree" && find src -name '*.rs' -exec cat {} + | cksum)
    (cd "$tree" && git apply "$patch") || die "$label: it cannot be applied"
    if [ "$before" = "$(cd "$tree" && find src -name '*.rs' -exec cat {} + | cksum)" ]; then
        die "$label: it changes nothing in src/"
    fi
    if ! build "$test"; then
        tell "$label" 'NO BUILD' "$what"; grep -A 12 '^error' "$log" | head -n 30; failed=1
    else
        run "$test" "$name" "$seeds"
        case $? in
            1) tell "$label" 'caught' "$what" ;;
            0) tell "$label" 'NOT CAUGHT' "$what"; failed=1 ;;
            *) tell "$label" 'NO TEST' "$what"; failed=1 ;;
        esac
    fi
    (cd "$tree" && git apply -R "$patch") || die "$label: it cannot be taken back"
done

echo
echo "Mutants:"
printf '%s\n' "${lines[@]}"
caught=$(printf '%s\n' "${lines[@]}" | grep -c ' caught  ')
echo "$caught of ${#lines[@]} caught"
exit $failed
