#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the contenders, interleaved, and writes one CSV: what and where on line
# one, then a line for each round, contender and cell.
#
# usage: run.sh CSV ROUNDS
# From the environment: BENCH_CELLS, the cells to run, as "pair/1 burst/4"; all
# if empty; BENCH_COMPILER and BENCH_CFLAGS, for line one; srcdir.
#
# The contenders' programs are bench/with-* of the working directory.
set -eu

csv=$1
rounds=$2
contenders='rmw bare bare-rmw bare-inline tidepool glibc glibc-calloc mimalloc mimalloc-calloc'

# The value of a field of lscpu.
cpu() {
	LC_ALL=C lscpu | sed -n "s/^$1: *//p"
}

package_version() {
	dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo unknown
}

commit() {
	if git -C "${srcdir:-.}" rev-parse --short HEAD 2>/dev/null; then
		git -C "${srcdir:-.}" diff --quiet HEAD -- numa arena pool bench ':!*.txt' ':!*.csv' || echo ', changed'
	else
		echo none
	fi | tr -d '\n'
}

line_one() {
	printf '# machine: %s, %s cpus' "$(cpu 'Model name')" "$(cpu 'CPU(s)')"
	printf '; kernel: %s' "$(uname -sr)"
	printf '; nodes:%s, TIDENUMA=%s' \
		"$(LC_ALL=C lscpu | sed -n 's/^NUMA \(node[0-9]*\) CPU(s): */ \1=/p' | tr -d '\n')" \
		"${TIDENUMA:-auto}"
	printf '; compiler: %s, %s' "${BENCH_COMPILER:-unknown}" "${BENCH_CFLAGS:-}"
	printf '; glibc %s, mimalloc %s, hwloc %s' "$(getconf GNU_LIBC_VERSION | sed 's/glibc //')" \
		"$(package_version libmimalloc2.0)" "$(package_version libhwloc15)"
	printf '; command: make bench BENCH_ROUNDS=%s%s' "$rounds" \
		"${BENCH_CELLS:+ BENCH_CELLS=\"$BENCH_CELLS\"}"
	printf '; commit: %s\n' "$(commit)"
}

# All cells that any contender has, in the order of the tables.
all_cells() {
	for contender in $contenders; do
		bench/with-"$contender"
	done | awk '!seen[$0]++'
}

run_round() {
	for cell in $cells; do
		for contender in $contenders; do
			if bench/with-"$contender" | grep -qx "$cell"; then
				bench/with-"$contender" "$cell" | sed "s/^/$1,/"
			fi
		done
	done
}

cells=${BENCH_CELLS:-$(all_cells)}
mkdir -p "$(dirname "$csv")"
{
	line_one
	echo round,contender,cell,threads,wall_least_ns,wall_median_ns,cpu_least_ns,cpu_median_ns
} >"$csv.part"
round=1
while [ "$round" -le "$rounds" ]; do
	echo "bench: round $round of $rounds:" "$(echo "$cells" | tr '\n' ' ')" >&2
	run_round "$round" >>"$csv.part"
	# Another order each time: who comes first is somebody else.
	contenders="${contenders#* } ${contenders%% *}"
	round=$((round + 1))
done
mv "$csv.part" "$csv"
echo "bench: wrote $csv" >&2
