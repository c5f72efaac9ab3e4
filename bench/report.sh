#!/bin/sh
# SPDX-License-Identifier: MIT
# The table and the acceptance lines of a CSV that run.sh wrote.
#
# usage: report.sh CSV
#
# Of one thread the least block of a round counts, of several the median one
# (see harness.c). Every comparison is made within a round; what is shown is the
# median of the rounds, and [first .. third] quartile. Where several threads share
# the cpus with other programs, wall time is theirs too: then look at cpu time.
set -eu

sed -n '1s/^# //p' "$1" | tr ';' '\n' | sed 's/^ */  /'
echo
awk -F, '
function value(round, contender, cell) {
	return by_cpu ? cpu[round, contender, cell] : wall[round, contender, cell]
}

# Quantile q of v[1..n], between two of them in proportion; sorts v.
function quantile(v, n, q,    i, j, x) {
	for (i = 2; i <= n; i++) {
		x = v[i]
		for (j = i - 1; j >= 1 && v[j] > x; j--)
			v[j + 1] = v[j]
		v[j + 1] = x
	}
	x = q * (n - 1) + 1
	i = int(x)
	return i == n ? v[n] : v[i] + (x - i) * (v[i + 1] - v[i])
}

function spread(v, n, format) {
	return sprintf(format " [" format " .. " format "]", quantile(v, n, 0.5),
		       quantile(v, n, 0.25), quantile(v, n, 0.75))
}

# v[]: per round, a over the least of b and c ("" if there is no c). Returns n.
function ratios(v, cell, a, b, c,    n, r, x) {
	n = 0
	for (r = 1; r <= rounds; r++) {
		if (value(r, a, cell) == "" || value(r, b, cell) == "")
			continue
		x = value(r, b, cell)
		if (c != "" && value(r, c, cell) != "" && value(r, c, cell) < x)
			x = value(r, c, cell)
		v[++n] = value(r, a, cell) / x
	}
	return n
}

function verdict(text, v, n, limit, strictly, more,    m) {
	if (n == 0) {
		printf "  %-8s%s: not measured\n", "", text
		return
	}
	m = quantile(v, n, 0.5)
	printf "  %-8s%s: %s%s\n", (strictly ? m < limit : m <= limit) ? "ok" : "MISSED", text,
	       spread(v, n, "%.2f"), more
}

function accept_ratio(text, cell, limit, strictly, b, c,    v, n, more) {
	more = ""
	if (cell !~ /\/1$/) {
		by_cpu = 1
		n = ratios(v, cell, "tidepool", b, c)
		by_cpu = 0
		more = n == 0 ? "" : "; by cpu time " spread(v, n, "%.2f")
	}
	n = ratios(v, cell, "tidepool", b, c)
	verdict(text, v, n, limit, strictly, more)
}

function accept_pair(    v, n, r) {
	n = 0
	for (r = 1; r <= rounds; r++)
		if (value(r, "tidepool", "pair/1") != "" && value(r, "rmw", "rmw/1") != "")
			v[++n] = value(r, "tidepool", "pair/1") - value(r, "bare", "pair/1") - \
				 value(r, "rmw", "rmw/1")
	verdict("pair less bare and a read-modify-write, at most 3 ns", v, n, 3, 0, "")
}

/^#/ || $1 == "round" { next }

{
	cell = $3 "/" $4
	wall[$1, $2, cell] = $4 == 1 ? $5 : $6
	cpu[$1, $2, cell] = $4 == 1 ? $7 : $8
	if ($1 > rounds)
		rounds = $1
	if (!(cell in has_cell)) {
		has_cell[cell]
		cells[++cell_count] = cell
	}
	if (!($2 in has_contender)) {
		has_contender[$2]
		contenders[++contender_count] = $2
	}
}

END {
	printf "%d rounds; nanoseconds for an object got and put, by a thread; cell/threads\n\n", rounds
	printf "%-13s%-17s%-25s%8s    %s\n", "cell", "contender", "wall", "cpu", "tidepool to it"
	for (i = 1; i <= cell_count; i++) {
		cell = cells[i]
		shown = cell
		for (j = 1; j <= contender_count; j++) {
			contender = contenders[j]
			n = 0
			for (r = 1; r <= rounds; r++)
				if (value(r, contender, cell) != "") {
					v[++n] = value(r, contender, cell)
					u[n] = cpu[r, contender, cell]
				}
			if (n == 0)
				continue
			printf "%-13s%-17s%-25s%8.1f", shown, contender, spread(v, n, "%.1f"),
			       quantile(u, n, 0.5)
			shown = ""
			n = contender == "tidepool" ? 0 : ratios(v, cell, "tidepool", contender, "")
			print n == 0 ? "" : "    " spread(v, n, "%.2f")
		}
	}
	print "\nacceptance, by wall time"
	accept_pair()
	accept_ratio("pair to glibc, below 1", "pair/1", 1, 1, "glibc")
	accept_ratio("pair to mimalloc, below 1", "pair/1", 1, 1, "mimalloc")
	accept_ratio("pair to glibc with calloc, below 1", "pair/1", 1, 1, "glibc-calloc")
	accept_ratio("pair to mimalloc with calloc, below 1", "pair/1", 1, 1, "mimalloc-calloc")
	accept_ratio("hand-over, 2 threads, to the best of the two, at most 0.7",
		     "hand-over/2", 0.7, 0, "glibc", "mimalloc")
	accept_ratio("hand-over, 4 threads, to the best of the two, at most 0.7",
		     "hand-over/4", 0.7, 0, "glibc", "mimalloc")
	accept_ratio("burst, 4 threads, to bare, at most 1.5", "burst/4", 1.5, 0, "bare")
	accept_ratio("burst, 4 threads, to bare with one read-modify-write a put, at most 1.5",
		     "burst/4", 1.5, 0, "bare-rmw")
}
' "$1"
