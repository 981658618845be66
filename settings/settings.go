// Package settings says what is wrong with the flags and variables of a program, and what would be
// right.
package settings

import (
	"cmp"
	"fmt"
	"strconv"
)

// Error is a value that is not allowed.
type Error struct {
	Key     string // the flag's name; its twin is HARK_ and the same in capitals
	Value   string
	Allowed string
}

func (e *Error) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%s is not given: want %s", e.Key, e.Allowed)
	}
	return fmt.Sprintf("%s: %q is not allowed: want %s", e.Key, e.Value, e.Allowed)
}

// NotAllowed returns an [*Error]; with an empty value it says that nothing was given.
func NotAllowed(key, value, allowed string) *Error { return &Error{key, value, allowed} }

// Between returns an [*Error] if a value does not lie between two others, which are allowed. What
// is not a number never does.
func Between[T cmp.Ordered](key string, value, least, most T) error {
	if value >= least && value <= most {
		return nil
	}
	return &Error{key, fmt.Sprint(value), text(least) + " to " + text(most)}
}

// text writes a bound as people do, without an exponent.
func text(n any) string {
	if f, ok := n.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(n)
}
