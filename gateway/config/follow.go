package config

import (
	"context"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hark-push/hark/backoff"
)

// live are the settings that a gateway takes while it runs. All concern what is submitted from then
// on, but for the levels of the log.
var live = []string{
	"log-level", "timeout", "retention", "max-retention", "attempts", "route-concurrency", "key-concurrency",
	"max-waiting-per-route", "max-waiting-per-caller", "max-open-per-caller", "max-stored-per-caller",
}

// pollEvery is how often a file or a folder is looked at; a URL is read each --config-interval.
const pollEvery = time.Second

// remindEvery is how often it is said again that the settings cannot be taken.
const remindEvery = time.Minute

// Follower reads the settings again while the gateway runs. What cannot be taken changes nothing.
type Follower struct {
	args    []string
	source  *source
	running Config // as it runs
	apply   func(Config)
	log     *slog.Logger

	failing  int // polls in a row
	since    time.Time
	reminded time.Time
	waiting  []string // settings that wait for the next start, as was told
}

// Follow returns who follows the source of the settings by which c was parsed, nil if there is
// none. apply is called with settings of which only those may differ that can be taken while the
// gateway runs.
func Follow(args []string, c Config, apply func(Config), log *slog.Logger) (*Follower, error) {
	s, err := openSource(args)
	if s == nil || err != nil {
		return nil, err
	}
	return &Follower{args: args, source: s, running: c, apply: apply, log: log.With(slog.String("config", s.shown()))}, nil
}

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	every := pollEvery
	if f.source.remote() {
		every = f.running.ConfigInterval
	}
	for backoff.Wait(ctx, backoff.Jitter(every)) == nil {
		err := f.poll(ctx)
		if ctx.Err() == nil {
			f.tell(err)
		}
	}
}

// poll takes what has changed.
func (f *Follower) poll(ctx context.Context) error {
	changed, err := f.source.read(ctx)
	if err != nil || !changed {
		return err
	}
	next, err := parseFrom(f.args, io.Discard, f.source)
	if err != nil {
		f.source.forget() // so that it is found wrong the next time, too
		return err
	}
	if err := f.source.keep(); err != nil {
		f.log.Warn("the copy of the settings could not be written", slog.String("file", f.source.copy), slog.Any("error", err))
	}
	f.take(next)
	return nil
}

// take applies what of next can be taken while the gateway runs, and tells of the rest.
func (f *Follower) take(next Config) {
	merged := f.running
	var taken, waiting []string
	to, from := reflect.ValueOf(&merged).Elem(), reflect.ValueOf(&next).Elem()
	for _, field := range reflect.VisibleFields(to.Type()) {
		env, ok := field.Tag.Lookup("env")
		if !ok || reflect.DeepEqual(to.FieldByIndex(field.Index).Interface(), from.FieldByIndex(field.Index).Interface()) {
			continue
		}
		name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(env, "HARK_"), "_", "-"))
		if !slices.Contains(live, name) {
			waiting = append(waiting, name)
			continue
		}
		to.FieldByIndex(field.Index).Set(from.FieldByIndex(field.Index))
		taken = append(taken, name)
	}
	if len(waiting) > 0 && !slices.Equal(waiting, f.waiting) {
		f.log.Warn("settings have changed that take effect when the gateway is started again", slog.Any("settings", waiting))
	}
	f.waiting = waiting
	if len(taken) == 0 {
		return
	}
	// They were checked beside settings that this gateway does not run by.
	if err := merged.check(); err != nil {
		f.log.Error("settings have changed that do not go with those by which the gateway runs: start it again", slog.Any("settings", taken), slog.Any("error", err))
		return
	}
	f.running = merged
	f.apply(merged)
	f.log.Info("settings were read again, and taken", slog.Any("settings", taken))
}

// tell says what came of a poll: from the second time in a row that the settings cannot be taken,
// because a file may be written just now.
func (f *Follower) tell(err error) {
	now := time.Now()
	if err == nil {
		if !f.since.IsZero() {
			f.log.Info("the settings can be read again", slog.Duration("after", now.Sub(f.since)))
		}
		f.failing, f.since, f.reminded = 0, time.Time{}, time.Time{}
		return
	}
	if f.failing++; f.failing < 2 && !f.source.remote() {
		return
	}
	if f.since.IsZero() {
		f.since = now
	} else if now.Sub(f.reminded) < remindEvery {
		return
	}
	f.reminded = now
	f.log.Error("the settings cannot be taken; those that were taken before hold on", slog.Any("error", err), slog.Time("since", f.since))
}
