#!/bin/sh
# SPDX-License-Identifier: MIT
#
# structure_readme.sh - the README's example is examples/hello.c, which is built;
# the files that README.md, DESIGN.md and HACKING.md name exist; and nobody left a
# place to be filled in (@LIKE_THIS@) in them.

: "${srcdir:=.}"
status=0

# What stands between the first ```c and the next ```.
shown=$(awk '/^```c$/ { on = 1; next } /^```$/ { if (on) exit } on' "$srcdir/README.md")
real=$(sed 1,2d "$srcdir/examples/hello.c")
if [ -z "$shown" ] || [ "$shown" != "$real" ]; then
	echo "README.md: the example is not examples/hello.c"
	status=1
fi

for doc in README.md DESIGN.md HACKING.md NEWS.md; do
	if grep -n '@[A-Z][A-Z_]*@' "$srcdir/$doc"; then
		echo "$doc: the above was never filled in"
		status=1
	fi
	for name in $(grep -oE '\b(numa|arena|pool|tests|bench|models|examples|scripts)/[A-Za-z0-9_./-]+' \
		"$srcdir/$doc" | sed 's/[.]$//' | sort -u); do
		case $name in *_) continue ;; esac
		[ -e "$srcdir/$name" ] || [ -e "$srcdir/$name.c" ] || [ -e "$srcdir/$name.h" ] ||
			[ -e "$srcdir/$name.sh" ] || { echo "$doc names $name, which does not exist" && status=1; }
	done
done
exit $status
