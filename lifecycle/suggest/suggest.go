// Package suggest finds the name that was meant by one that is not known, so that an error can say
// so.
package suggest

import (
	"reflect"
	"strconv"
	"strings"
)

// longest is how many bytes of a name are looked at: nobody mistypes a longer one.
const longest = 64

// Name returns the one of the known names that somebody who wrote got is likely to have meant; ""
// if none is close. Case, hyphens and underscores make no difference, so max_attempts is close to
// maxAttempts. Of several that are as close the first is returned.
func Name(got string, known []string) string {
	plain := fold(got)
	if plain == "" || len(plain) > longest {
		return ""
	}
	best, least := "", 1+max(1, len(plain)/3)
	for _, name := range known {
		if d := distance(plain, fold(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// Mean returns a question that can stand behind an error, ` (did you mean "listen"?)`, or "" if no
// known name is close.
func Mean(got string, known []string) string {
	if name := Name(got, known); name != "" {
		return " (did you mean " + strconv.Quote(name) + "?)"
	}
	return ""
}

// Fields returns the names in JSON of the fields of the struct that v points to, in their order.
func Fields(v any) []string {
	var names []string
	for f := range reflect.TypeOf(v).Elem().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}

func fold(name string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
}

// distance counts how many bytes have to be inserted, left out or replaced, or neighbors swapped,
// to make b of a: the optimal string alignment.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
