#!/bin/sh
# SPDX-License-Identifier: MIT
#
# settings.sh - which values of TIDEGC, TIDEMEMLIMIT, TIDENUMA and TIDEDEBUG are
# good, what they mean, and that every other one is refused: by one line on stderr
# that names the variable, the value and what is accepted, by -EINVAL, and by exit
# status 2 of a program of ours. Runs in the build directory.

: "${srcdir:=.}"
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
status=0
cases=0
unset TIDEGC TIDEMEMLIMIT TIDENUMA TIDEDEBUG HWLOC_SYNTHETIC HWLOC_XMLFILE
newline='
'

fail()
{
	echo "$*"
	status=1
}

# run VARIABLE VALUE PROGRAM [ARG]: leaves $got, stdout and stderr in $dir
run()
{
	cases=$((cases + 1))
	variable=$1 value=$2
	shift 2
	env "$variable=$value" "$@" >"$dir/stdout" 2>"$dir/stderr" </dev/null
	got=$?
}

# Every other case begins with a create instead of an init.
mode=create
take_turns()
{
	if [ "$mode" = init ]; then mode=create; else mode=init; fi
}

# good VARIABLE VALUE [WORD]: accepted in silence; stdout has the word
good()
{
	take_turns
	run "$1" "$2" tests/settings_case "$mode"
	[ "$got" -eq 0 ] || fail "$1='$2' ($mode): exit status $got: $(cat "$dir/stderr")"
	[ ! -s "$dir/stderr" ] || fail "$1='$2' ($mode) said: $(cat "$dir/stderr")"
	[ -z "$3" ] || grep -qw -e "$3" "$dir/stdout" ||
		fail "$1='$2' ($mode): no $3 in: $(cat "$dir/stdout")"
}

# one_line VARIABLE VALUE ACCEPTED: what stderr must be
one_line()
{
	[ "$(wc -l <"$dir/stderr")" -eq 1 ] ||
		fail "$1='$2': not one line: $(cat "$dir/stderr")"
	grep -qF -e "$1" "$dir/stderr" || fail "$1='$2': no name in: $(cat "$dir/stderr")"
	grep -qF -e "$3" "$dir/stderr" ||
		fail "$1='$2': what is accepted is not in: $(cat "$dir/stderr")"
	# Of a value that no terminal should see, the readable beginning.
	start=$(printf '%s' "$2" | head -n 1 | tr -d '\001-\037\177-\377\042\134' | cut -c 1-20)
	grep -qF -e "$start" "$dir/stderr" || fail "$1='$2': no value in: $(cat "$dir/stderr")"
}

# bad VARIABLE VALUE: refused, by init and by create
bad()
{
	case $1 in
	TIDEGC) accepted="100000" ;;
	TIDEMEMLIMIT) accepted="KiB" ;;
	TIDENUMA) accepted="fake=" ;;
	*) accepted="verifyreset" ;;
	esac
	take_turns
	run "$1" "$2" tests/settings_case "$mode"
	[ "$got" -eq 2 ] || fail "$1='$2' ($mode): exit status $got, not 2"
	one_line "$1" "$2" "$accepted"
}

# Nothing set.
run NOTHING 1 tests/settings_case
grep -qw -e gc_percent=100 "$dir/stdout" || fail "unset: TIDEGC is not 100"
grep -qw -e memory_limit=off "$dir/stdout" || fail "unset: TIDEMEMLIMIT is not off"

good TIDEGC off gc_percent=-1
for value in 0 1 100 012 99999 100000 0100000; do
	good TIDEGC "$value" "gc_percent=$(echo "$value" | sed 's/^0*\(.\)/\1/')"
done
for value in '' ten 100001 -1 +1 1.5 '1 ' ' 1' 1% 0x10 1e3 OFF Off 'off ' 99999999999999999999 \
	18446744073709551716 4294967396 auto "1${newline}2"; do
	bad TIDEGC "$value"
done

# Go's grammar for GOMEMLIMIT.
good TIDEMEMLIMIT off memory_limit=off
while read -r value bytes; do
	good TIDEMEMLIMIT "$value" "memory_limit=$bytes"
done <<-END
	1 1
	0 0
	0B 0
	012345 12345
	1B 1
	05KiB 5120
	512MiB 536870912
	3GiB 3221225472
	99TiB 108851651149824
	00000000000000000000000000001 1
	9223372036854775806 9223372036854775806
	8388607TiB 9223370937343148032
	9007199254740991KiB 9223372036854774784
END
good TIDEMEMLIMIT 9223372036854775807 memory_limit=off
for value in '' -1 1K 1KB 1Ki 1KIB 1kib 1M 1b 555EiB 1EiB 1PiB 9223372036854775808 \
	18446744073709551616 18446744073709551617 8388608TiB 9007199254740992KiB 1.5GiB ' 1' '1 ' '1 B' \
	+1 0x10 KiB B OFF unlimited 1BB 1KiBB 1iB 0% 101% -5% % 1%% 1.5% '85 %' 85%% 4294967346% \
	AUTO 'auto ' max; do
	bad TIDEMEMLIMIT "$value"
done
# A share is of the cgroup's limit, or of all memory: some number. Nothing acts on it yet.
for value in auto 1% 85% 100% 085%; do
	good TIDEMEMLIMIT "$value"
done

good TIDENUMA auto
good TIDENUMA off nodes=1
for n in 1 2 4 7 64; do
	good TIDENUMA "fake=$n" "nodes=$n"
done
good TIDENUMA fake=04 nodes=4
for value in '' on 4 fake fake= fake=0 fake=65 fake=-1 fake=+1 'fake=4 ' ' fake=4' fake=4,2 FAKE=4 \
	Auto 'auto,off' fake=4294967300 fake=18446744073709551620 fake=4x fake==4; do
	bad TIDENUMA "$value"
done

for value in '' gctrace=1 gctrace=0 verifyreset=1 verifyreset=0 quarantine=0 quarantine=100 \
	quarantine=1000000 gctrace=1,verifyreset=1,quarantine=5 quarantine=5,gctrace=0 \
	verifyreset=1,verifyreset=0; do
	good TIDEDEBUG "$value"
done
for value in gctrace gctrace= gctrace=2 gctrace=-1 gctrace=true verifyreset verifyreset=yes \
	quarantine quarantine= quarantine=-1 quarantine=1000001 quarantine=1K x=1 =1 = ',' 'gctrace=1,' \
	',gctrace=1' 'gctrace=1,,verifyreset=1' 'gctrace=1, verifyreset=1' 'gctrace=1 ' GCTRACE=1 \
	gctrace=1,nosuch=1 gctrace=1:verifyreset=1 gctrac=1 gctracee=1 q=1 v=1 g=1 verifyreset=1,q=5 \
	quarantine=18446744073709551617 "gctrace=1${newline}"; do
	bad TIDEDEBUG "$value"
done

# Of several bad ones the first is reported, and only it.
run TIDEGC ten env TIDENUMA=bad tests/settings_case
[ "$got" -eq 2 ] || fail "two bad ones: exit status $got"
[ "$(wc -l <"$dir/stderr")" -eq 1 ] || fail "two bad ones: $(cat "$dir/stderr")"

# A long value, and one of strange bytes, still make one line.
long=$(printf '%05000d' 7)
run TIDEGC "x$long" tests/settings_case
one_line TIDEGC "x0000000" "100000"
[ "$(wc -c <"$dir/stderr")" -lt 1000 ] || fail "a long value makes a long line"
run TIDEDEBUG "$(printf 'x\033[31m\007\377\042\134')" tests/settings_case
one_line TIDEDEBUG x verifyreset
if LC_ALL=C grep -q "$(printf '[\001-\011\013-\037\177-\377]')" "$dir/stderr"; then
	fail "a raw control character: $(od -c "$dir/stderr")"
fi

# Programs of ours.
for setting in TIDEGC=ten TIDEMEMLIMIT=1K TIDENUMA=x TIDEDEBUG=x; do
	run "${setting%%=*}" "${setting#*=}" examples/hello
	[ "$got" -eq 2 ] || fail "hello with $setting: exit status $got, not 2"
	[ "$(wc -l <"$dir/stderr")" -eq 1 ] || fail "hello with $setting: $(cat "$dir/stderr")"
	[ ! -s "$dir/stdout" ] || fail "hello with $setting went on"
done
run TIDEGC 50 examples/hello
[ "$got" -eq 0 ] || fail "hello: exit status $got"

echo "$cases cases"
exit "$status"
