#!/bin/sh
# SPDX-License-Identifier: MIT
#
# structure_spdx.sh - every source begins with its licence, and stays small: a
# .c above 600 lines is to be split; above 400, or an internal header above 160,
# is worth a look.

: "${srcdir:=.}"
cd "$srcdir" || exit 99
status=0
sources=0
for file in $(find numa arena pool examples tests bench models scripts -type f \
	\( -name '*.[ch]' -o -name '*.sh' -o -name '*.pml' -o -name '*.lua' -o -name '*.py' \
	-o ! -name '*.*' \) 2>/dev/null | sort); do
	case $file in
	*.[ch] | *.sh | *.pml | *.lua | *.py) ;;
	*) # without a suffix: a script if it says so
		head -c 2 "$file" | grep -q '#!' || continue
		;;
	esac
	sources=$((sources + 1))
	if ! head -n 3 "$file" | grep -q 'SPDX-License-Identifier: MIT'; then
		echo "$file has no SPDX line"
		status=1
	fi
	lines=$(wc -l <"$file")
	case $file in
	pool/tide.h) ;;
	*.c)
		if [ "$lines" -gt 600 ]; then
			echo "$file has $lines lines, more than 600"
			status=1
		elif [ "$lines" -gt 400 ]; then
			echo "worth a look: $file has $lines lines, more than 400"
		fi
		;;
	*.h)
		if [ "$lines" -gt 160 ]; then
			echo "worth a look: $file has $lines lines, more than 160"
		fi
		;;
	esac
done
if [ $sources -lt 40 ]; then
	echo "only $sources sources found"
	status=1
fi
exit $status
