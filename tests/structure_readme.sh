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

# named_in DOC: the files of the tree that it names, ones that are made up left out.
named_in()
{
	grep -oE '\b(numa|arena|pool|tests|bench|models|examples|scripts)/[A-Za-z0-9_./-]+' "$1" |
		sed 's/[.]$//' | grep -v '_$' | sort -u
}

missing()
{
	named_in "$srcdir/$1" | while read -r name; do
		for file in "$name" "$name.c" "$name.h" "$name.sh"; do
			[ ! -e "$srcdir/$file" ] || continue 2
		done
		echo "$1 names $name, which does not exist"
	done
}

for doc in README.md DESIGN.md HACKING.md NEWS.md; do
	if grep -n '@[A-Z][A-Z_]*@' "$srcdir/$doc"; then
		echo "$doc: the above was never filled in"
		status=1
	fi
	wrong=$(missing "$doc")
	if [ -n "$wrong" ]; then
		echo "$wrong"
		status=1
	fi
done
exit $status
