#!/bin/sh
# SPDX-License-Identifier: MIT
#
# crash.sh - each program crash_* must die by SIGABRT with exactly the line that is
# here for it on stderr; only addresses and generations vary. crash_leak alone
# must go on. Runs in the build directory.
#
# The README's table of misuse, row by row, and where its cells are tested: what dies
# here, and what a handler that returns, a ref or a setting makes of it.
#
# double put before reissue       crash_double_put*; misuse_double
# two threads at once             crash_double_put_race; misuse_double:
#                                 of_racing_puts_exactly_one_succeeds; stress_pool
# a pointer that is no object     crash_foreign_*; misuse_foreign
# an object of another pool       crash_wrong_pool*; misuse_foreign
# used larger than the object     crash_overflow*; misuse_overflow
# unpin without a pin             crash_bad_unpin*; misuse_double:
#                                 an_unpin_without_a_pin_is_refused,
#                                 an_unpin_too_many_while_another_has_it_pinned_is_not_told
# a stale ref                     refs_stale: a_stale_ref_is_no_misuse,
#                                 a_ref_is_live_from_get_to_put; refs_in_flight
# a call from a signal handler    crash_reentered; misuse_signal; stress_signal; white_table
# destroy while objects are live  crash_leak; pool_get_put; refs_pin:
#                                 destroy_is_ebusy_while_pins_remain
# a stale pointer after reissue
#   never, and by ref always      misuse_double: a_stale_pointer_put_after_reissue_is_not_*;
#                                 no other pool's life meanwhile: misuse_held_up
#   quarantine=N, within N puts   crash_quarantine; misuse_quarantine:
#                                 with_quarantine_a_stale_pointer_is_caught_within_n_puts
#   unless max_bytes empties it   misuse_quarantine:
#                                 a_cap_is_worth_more_than_the_quarantine; oom_refused
# verifyreset=1
#   a zeroing pool, a false used  crash_dirty_reset; pool_verify:
#                                 with_verifyreset_a_false_used_is_dirty_reset
#   the verify hook               pool_verify: with_verifyreset_an_incomplete_reset_is_*
# a write by a stale pointer      misuse_double: a_write_through_a_stale_pointer_is_never_*,
#                                 a_write_through_a_stale_pointer_outlives_*

: "${srcdir:=.}"
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
status=0

object="object 0x[0-9a-f]+"
life="$object, generation [1-9][0-9]*"
twice="tidepool: double put: pool 'crash', $life: it was put already"
foreign="tidepool: foreign put: pool 'crash', $object: it is not the start of an object of any pool"
theirs="tidepool: wrong pool: pool 'crash', $life: it belongs to pool 'other'"
large="tidepool: overflow: pool 'crash', $life: 101 bytes used of an object of 100"
inside="a get interrupted another call of this thread"

# What the program must say: a regular expression for all of its stderr.
report_of()
{
	case $1 in
	double_put* | quarantine) echo "$twice" ;;
	foreign_null_plus_1) echo "$foreign" | sed 's/0x[^,:]*/0x1/' ;;
	foreign_kernel) echo "$foreign" | sed 's/0x[^,:]*/0xffffffff81000000/' ;;
	foreign_*) echo "$foreign" ;;
	wrong_pool*) echo "$theirs" ;;
	bad_unpin) echo "tidepool: bad unpin: pool 'crash', $life: it is not pinned" ;;
	bad_unpin_foreign) echo "$foreign" | sed 's/foreign put/bad unpin/' ;;
	overflow*) echo "$large" ;;
	dirty_reset) echo "tidepool: dirty reset: pool 'crash', $life: byte 99 is 0x01 after reset" ;;
	reentered) echo "tidepool: reentered: pool 'crash': $inside" ;;
	leak) echo "tidepool: leak: pool 'crash': 1 objects are live" ;;
	*) echo "no report is known for $1" ;;
	esac
}

# check NAME
check()
{
	if [ "$1" = leak ]; then want=0; else want=134; fi
	(exec "tests/crash_$1") 2>"$dir/stderr" >"$dir/stdout" </dev/null
	got=$?
	report=$(report_of "$1")
	if [ "$got" -ne "$want" ]; then
		echo "crash_$1: exit status $got, not $want"
		status=1
	fi
	if [ "$(wc -l <"$dir/stderr")" -ne 1 ] || ! grep -qxE "$report" "$dir/stderr"; then
		echo "crash_$1: stderr is:"
		cat "$dir/stderr"
		echo "and should be: $report"
		status=1
	fi
}

n=0
for source in "$srcdir"/tests/crash_*.c; do
	name=${source##*/crash_}
	check "${name%.c}"
	n=$((n + 1))
done
echo "$n programs"
exit "$status"
