#!/bin/sh
# SPDX-License-Identifier: MIT
#
# labels.sh - the C code and the models speak of the same transitions: every
# label in brackets ([SLOT_PUT], [GATE_TAKE] ...) of the files that implement
# the slot word, the slab's release and the cache gate stands in their model, and
# the other way round.

: "${srcdir:=.}"
status=0

labels()
{
	prefix=$1
	shift
	cat "$@" | grep -oE "\[${prefix}_[A-Z_]+\]" | sort -u
}

# compare PREFIX MODEL FILE...
compare()
{
	prefix=$1 model=$2
	shift 2
	for file in "$model" "$@"; do
		if [ ! -r "$srcdir/$file" ]; then
			echo "$file: cannot be read"
			status=1
			return
		fi
	done
	in_model=$(labels "$prefix" "$srcdir/$model")
	in_code=$(cd "$srcdir" && labels "$prefix" "$@")
	if [ -z "$in_model" ] || [ -z "$in_code" ]; then
		echo "$model or $*: no $prefix label at all"
		status=1
		return
	fi
	for label in $in_model; do
		if ! echo "$in_code" | grep -qxF -e "$label"; then
			echo "$model: $label is not in $*"
			status=1
		fi
	done
	for label in $in_code; do
		if ! echo "$in_model" | grep -qxF -e "$label"; then
			echo "$*: $label is not in $model"
			status=1
		fi
	done
}

compare SLOT models/slot.pml arena/slot.h
compare SLAB models/slot.pml arena/slab.c
compare GATE models/gate.pml pool/cache.h pool/gate.c pool/gate.h
exit $status
