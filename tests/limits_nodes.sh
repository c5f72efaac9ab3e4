#!/bin/sh
# SPDX-License-Identifier: MIT
# The stress tests on a machine of eight nodes, whose cpu numbers have holes, as
# hwloc is told; they pretend four nodes otherwise.
set -eu

srcdir=${srcdir:-.}
unset HWLOC_SYNTHETIC TIDEDEBUG TIDEGC TIDEMEMLIMIT
export HWLOC_XMLFILE="$srcdir/tests/eight-nodes.xml" TIDENUMA=auto
export TIDE_STRESS_SECONDS="${TIDE_STRESS_SECONDS:-2}"

for test in stress_pool stress_refs; do
	echo "$test, with HWLOC_XMLFILE=$HWLOC_XMLFILE"
	"./tests/$test"
done
