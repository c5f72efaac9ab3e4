#!/bin/sh
# SPDX-License-Identifier: MIT
#
# structure_format.sh - every .c and .h is as clang-format 14 leaves it.

: "${srcdir:=.}"
format=${CLANG_FORMAT:-clang-format}
case $($format --version 2>/dev/null) in
*version\ 14.*) ;;
*)
	echo "skipped: no clang-format 14"
	exit 77
	;;
esac

cd "$srcdir" || exit 99
files=$(find numa arena pool examples tests bench -name '*.[ch]' 2>/dev/null | sort)
if [ -z "$files" ]; then
	echo "no source found"
	exit 1
fi
status=0
for file in $files; do
	if ! $format --style=file --dry-run -Werror "$file" >/dev/null 2>&1; then
		echo "$file is not formatted"
		status=1
	fi
done
exit $status
