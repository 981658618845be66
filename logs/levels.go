// Package logs writes the log of a program: lines of JSON, each with the package that it is of and
// without the passwords of URLs, from a level on that may be another one for each package and may
// change while the program runs.
package logs

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Levels are from which level on lines are written: of a package, and of those below it, else of
// all others. The zero value is that of slog.LevelInfo. It is a value, and is not changed.
type Levels struct {
	others slog.Level
	of     map[string]slog.Level // by the path of the package in the module, like "store/redis"
}

// Allowed says what [Parse] takes.
const Allowed = "debug, info, warn or error, and behind it, by commas, others for some packages, like info,hub=debug,store=warn"

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// Packages are those that log, and can have a level of their own: what the test of this package
// finds in the source. A name stands for what is below it, too.
var Packages = []string{
	"backends", "broker", "broker/rabbitmq", "gateway", "gateway/api", "gateway/auth", "gateway/config", "gateway/lease", "gateway/node",
	"hub", "lifecycle", "processor", "processor/samples", "store", "store/codec", "store/redis", "tracing", "webhook",
}

// Parse reads levels as a flag gives them: one for all, for some packages, or both, like
// "info,hub=debug,store/redis=warn". Its errors say what is wrong with which part.
func Parse(text string) (Levels, error) {
	l := Levels{of: make(map[string]slog.Level)}
	given := make(map[string]bool)
	for part := range strings.SplitSeq(text, ",") {
		name, word, of := strings.Cut(strings.TrimSpace(part), "=")
		if !of {
			name, word = "", name
		}
		level, known := levels[word]
		switch {
		case !known:
			return Levels{}, fmt.Errorf("%q is no level", word)
		case of && !slices.Contains(Packages, name):
			return Levels{}, fmt.Errorf("%q is no package that logs: those are %s", name, strings.Join(Packages, ", "))
		case given[name]:
			return Levels{}, fmt.Errorf("%q is there twice", strings.TrimSpace(part))
		}
		given[name] = true
		if of {
			l.of[name] = level
		} else {
			l.others = level
		}
	}
	return l, nil
}

// Of returns from which level on lines of a package are written.
func (l Levels) Of(pkg string) slog.Level {
	for name := pkg; name != ""; {
		if level, ok := l.of[name]; ok {
			return level
		}
		name = name[:max(strings.LastIndexByte(name, '/'), 0)]
	}
	return l.others
}

// least is the lowest of all.
func (l Levels) least() slog.Level {
	least := l.others
	for _, level := range l.of {
		least = min(least, level)
	}
	return least
}
