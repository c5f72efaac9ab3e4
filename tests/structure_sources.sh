#!/bin/sh
# SPDX-License-Identifier: MIT
#
# structure_sources.sh - every file of the tree is named in a Makefile.am or a
# Makefile.inc, and so comes with the tarball; and every file named there under
# EXTRA_DIST or SOURCES exists. A directory that is named stands for what is in
# it. In a tarball, where there is no git, the tree itself is searched.

: "${srcdir:=.}"
cd "$srcdir" || exit 99
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
status=0

if [ -e .git ] && git ls-files >/dev/null 2>&1; then
	git ls-files --cached --others --exclude-standard
else
	find . \( -name 'build*' -o -name '_build' -o -name '_inst' -o -name m4 \
		-o -name '*.cache' -o -name '.libs' -o -name .deps -o -name .git \) -prune \
		-o -type f -print | sed 's,^\./,,' |
		grep -vE '^(configure~?|aclocal\.m4|config\.h\.in~?|Makefile\.in)$'
fi | sort -u >"$tmp/tree"

# The words of all makefiles, with the directory of each for %D%.
for makefile in Makefile.am $(grep -oE '^include [a-z/_-]+/Makefile.inc' Makefile.am |
	cut -d' ' -f2); do
	dir=$(dirname "$makefile")
	echo "$makefile"
	sed -e "s,%D%,$dir,g" -e 's,[$](top_srcdir)/,,g' -e 's,[$](srcdir)/,,g' \
		-e 's/^#.*//' -e 's/[[:blank:]=]/\n/g' "$makefile"
done | sort -u >"$tmp/words"
echo "configure.ac" >>"$tmp/words"
sed -n 's/^AC_CONFIG_FILES(\[\(.*\)\])/\1/p' configure.ac | tr ' ' '\n' |
	sed 's/$/.in/' >>"$tmp/words"

files=0
while read -r file; do
	[ -f "$file" ] || continue
	case $file in
	.git* | .ci/*) continue ;;
	esac
	files=$((files + 1))
	# A program without SOURCES has one, of its own name.
	grep -qxF -e "${file%.c}" "$tmp/words" && continue
	name=$file
	while [ "$name" != . ]; do
		grep -qxF -e "$name" "$tmp/words" && break
		name=$(dirname "$name")
	done
	if [ "$name" = . ]; then
		echo "$file is in no Makefile, so the tarball lacks it"
		status=1
	fi
done <"$tmp/tree"
if [ $files -lt 50 ]; then
	echo "only $files files found"
	status=1
fi

# And the other way round, for what automake might not notice in time.
grep -E '^[a-z]+/[A-Za-z0-9_/.-]+\.(c|h|sh|pml|map|lua)$' "$tmp/words" | while read -r file; do
	[ -e "$file" ] || echo "$file is named in a Makefile and does not exist"
done >"$tmp/missing"
if [ -s "$tmp/missing" ]; then
	cat "$tmp/missing"
	status=1
fi
exit $status
