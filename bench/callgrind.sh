#!/bin/sh
# SPDX-License-Identifier: MIT
# Counts the instructions of each operation that hits, by running bench/hits of
# the working directory under callgrind.
#
# usage: callgrind.sh counts               a table; lines with # say what was built
#        callgrind.sh disassembly NAME...  what a hit of tide_NAME executes
#
# In the table, locked are the instructions with a lock prefix (or xchg with
# memory) that were executed, and calls the functions called: no system call and
# no lock can hide where none is. In the disassembly, == is where instructions
# were left out because no hit executes them.
#
# From the environment: VALGRIND, srcdir. Exit 77: this cannot be done here, and why.
set -eu

# A variable of the Makefile in the working directory.
make_variable() {
	sed -n "s/^$1 = //p" Makefile | sed 's/^ *//; s/ *$//'
}

skip() {
	echo "callgrind: $1" >&2
	exit 77
}

# What the code depends on; no two builds with one such line should differ.
build_line() {
	compiler=$($(make_variable CC) --version | sed 1q)
	flags=$(echo "$(make_variable CPPFLAGS) $(make_variable CFLAGS) $(make_variable TIDE_CFLAGS)" |
		tr -s ' ' '\n' | grep -v '^-W' | tr '\n' ' ')
	[ -e .libs/libtidepool.so ] && linkage=shared || linkage=static
	echo "$compiler, $(uname -m), $linkage, $flags" | sed 's/  */ /g; s/ $//'
}

commit() {
	if ! git -C "${srcdir:-.}" rev-parse --short HEAD 2>/dev/null; then
		echo unknown
	elif ! git -C "${srcdir:-.}" diff --quiet HEAD -- numa arena pool bench ':!*.txt' ':!*.csv'; then
		echo ', changed'
	fi | tr -d '\n'
}

counts() {
	echo "# build: $(build_line)"
	echo "# commit: $(commit)"
	echo "# valgrind: $($valgrind --version)"
	awk -v mode=counts "$program" "$tmp/objdump" "$tmp/callgrind"
}

# shellcheck disable=SC2016 # the dollars are awk's
program='
# How many locked instructions a call of fn executes, with all that it calls; of
# what several operations call, the mean.
function locked_of(fn,    n, i) {
	if (fn in locked_done)
		return locked_done[fn]
	locked_done[fn] = 0 # should it call itself
	n = locked[fn]
	for (i = 1; i <= callees[fn]; i++)
		n += callee_calls[fn, i] * locked_of(callee[fn, i])
	return locked_done[fn] = calls[fn] ? n / calls[fn] : n
}

function names_of(fn,    i, names, seen) {
	for (i = 1; i <= callees[fn]; i++)
		if (!((fn, callee[fn, i]) in seen)) {
			seen[fn, callee[fn, i]]
			names = names (names == "" ? "" : ",") callee[fn, i]
		}
	return names == "" ? "-" : names
}

# Executed by every call, or nearly: cold code that a few calls met is no hit.
function is_hot(address, name) {
	return executed[address] * 2 > calls[name]
}

# The first file: the disassembly of the object with the library in it.
FNR == NR && /^[0-9a-f]+ <.*>:$/ {
	name = $2
	gsub(/[<>:]/, "", name)
	next
}
FNR == NR && /^ +[0-9a-f]+:\t/ {
	address = $1
	sub(/:$/, "", address)
	is_locked[address] = /\tlock / || /\txchg .*\(/
	text = $0
	sub(/^ +[0-9a-f]+:\t/, "", text)
	sub(/ +# [0-9a-f]+ </, " # <", text)
	sub(/ +$/, "", text)
	lines[name]++
	at[name, lines[name]] = address
	code[address] = text
	next
}
FNR == NR { next }

# The second: what callgrind saw, in positions of address and line.
/^ob=/ { ours = $0 ~ /libtidepool|hits$/ }
/^fn=/ { fn = substr($0, 4) }
/^cfn=/ { to = substr($0, 5) }
/^calls=/ {
	n = substr($1, 7)
	getline
	calls[to] += n
	if (fn ~ /^measure_/) {
		op_calls[to] += n
		inclusive[to] += $3
	} else {
		callees[fn]++
		callee[fn, callees[fn]] = to
		callee_calls[fn, callees[fn]] = n
	}
	next
}
/^0x/ && ours {
	address = substr($1, 3)
	executed[address] += $3
	if (is_locked[address])
		locked[fn] += $3
}

function show(name,    i, address, skipping) {
	print name ":"
	for (i = 1; i <= lines[name]; i++) {
		address = at[name, i]
		if (!is_hot(address, name)) {
			skipping = 1
			continue
		}
		print (skipping ? " ==" : "   ") "  " code[address]
		skipping = 0
	}
}

END {
	if (mode == "disassembly") {
		n = split(wanted, names, " ")
		for (i = 1; i <= n; i++)
			show("tide_" names[i])
		exit
	}
	printf "%-12s %12s %8s  %s\n", "# a hit of", "instructions", "locked", "calls"
	n = split("get put get+put put_used get_ref put_ref ref_of ref_is_live pin unpin pin+unpin",
		  names, " ")
	for (i = 1; i <= n; i++) {
		k = split(names[i], parts, "+")
		instructions = executed_locked = 0
		for (j = 1; j <= k; j++) {
			fn = "tide_" parts[j]
			if (!op_calls[fn])
				exit 1
			instructions += inclusive[fn] / op_calls[fn]
			executed_locked += locked_of(fn)
		}
		printf "%-12s %12.2f %8.2f  %s\n", names[i], instructions, executed_locked,
		       k == 1 ? names_of(fn) : "."
	}
}
'

mode=${1:-counts}
valgrind=${VALGRIND:-valgrind}
command -v "$valgrind" >/dev/null || skip "there is no valgrind"
case $(make_variable TIDE_CFLAGS) in
*-fsanitize*) skip "a build with sanitizers does not run under valgrind" ;;
esac
grep -q '^#define TIDEP_DEBUG 1' config.h && skip "a debug build has assertions in its hits"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
object=.libs/libtidepool.so
[ -e $object ] || object=bench/hits
LD_BIND_NOW=1 $valgrind --tool=callgrind --toggle-collect='measure_*' --dump-instr=yes \
	--compress-strings=no --compress-pos=no --callgrind-out-file="$tmp/callgrind" \
	bench/hits >"$tmp/log" 2>&1 || {
	# valgrind 3.19 gives up on the DWARF 5 of clang 14.
	grep -q 'debuginfo reader' "$tmp/log" &&
		skip "this valgrind cannot read the compiler's debug information; -gdwarf-4 helps"
	cat "$tmp/log" >&2
	exit 1
}
objdump -d --no-show-raw-insn $object >"$tmp/objdump"
case $mode in
counts)
	counts
	;;
disassembly)
	shift
	awk -v mode=disassembly -v wanted="$*" "$program" "$tmp/objdump" "$tmp/callgrind"
	;;
*)
	echo "usage: callgrind.sh counts | disassembly NAME..." >&2
	exit 2
	;;
esac
