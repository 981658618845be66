package link

import (
	"errors"
	"strconv"
)

// Answer is what a script answers, or a part of it that is a list. What is not there is read as
// nothing, and numbers that are none are [ErrAnswer].
type Answer []any

// ErrAnswer: a script has answered something else than it should.
var ErrAnswer = errors.New("unexpected answer of a script")

// Verdict is the first part of the answer of a script that writes.
func (a Answer) Verdict() string { return a.Text(0) }

// Text is a string, "" for nil.
func (a Answer) Text(i int) string {
	if i >= len(a) {
		return ""
	}
	s, _ := a[i].(string)
	return s
}

// Number is an integer.
func (a Answer) Number(i int) (int64, error) {
	if i < len(a) {
		switch v := a[i].(type) {
		case int64:
			return v, nil
		case string:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return n, nil
			}
		}
	}
	return 0, ErrAnswer
}

// Numbers are n integers, from the i-th on.
func (a Answer) Numbers(i, n int) ([]int64, error) {
	all := make([]int64, n)
	for j := range all {
		var err error
		if all[j], err = a.Number(i + j); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// List is a list.
func (a Answer) List(i int) Answer {
	if i >= len(a) {
		return nil
	}
	l, _ := a[i].([]any)
	return l
}
