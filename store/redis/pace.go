package redis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/hark-push/hark/lifecycle"
)

// How fast something goes is in one partition, whichever ones the requests are in. So it is no part
// of the steps that say it: each process adds what its own have said, a few times a second.

// paces is what this process has to say of them.
type paces struct {
	tally   lifecycle.PaceTally
	samples chan timedSample // that are to be added; what finds no room is lost
}

type timedSample struct {
	lifecycle.PaceSample
	at time.Time
}

// samplesMost is how many samples wait at most.
const samplesMost = 64

// pace takes note of what a step says of how fast work goes.
func (s *Store) pace(was, is *lifecycle.Request) {
	sample, ok := lifecycle.PaceOf(was, is)
	if ok {
		sample, ok = s.paces.tally.Add(sample, is.UpdatedAt)
	}
	if !ok {
		return
	}
	select {
	case s.paces.samples <- timedSample{sample, is.UpdatedAt}:
	default:
	}
}

// stepped tells the meter that a request came from was, nil for none, to is.
func (s *Store) stepped(was, is *lifecycle.Request) {
	if s.options.Meter == nil {
		return
	}
	if step, ok := lifecycle.StepOf(was, is); ok {
		s.options.Meter.Stepped(step)
	}
}

// addPaces adds samples until ctx ends.
func (s *Store) addPaces(ctx context.Context) {
	for {
		select {
		case sample := <-s.paces.samples:
			bound, cancel := s.bounded(ctx)
			_ = s.addPace(bound, sample.PaceSample, sample.at) // the next one will do
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) addPace(ctx context.Context, sample lifecycle.PaceSample, now time.Time) error {
	_, err := s.run(ctx, scripts.pace, s.partition(sample.Of), sample.Of, sample.Count, sample.Took.Seconds(),
		micros(sample.Since), micros(now), lifecycle.PaceLeast, lifecycle.PaceKept.Milliseconds())
	return err
}

// Pace implements lifecycle.Paces.
func (s *Store) Pace(ctx context.Context, of string) (lifecycle.Pace, error) {
	if err := ctx.Err(); err != nil {
		return lifecycle.Pace{}, err
	}
	bound, cancel := s.bounded(ctx)
	defer cancel()
	value, err := s.client.Get(bound, s.tags[s.partition(of)]+"n:"+of).Result()
	switch {
	case errors.Is(err, goredis.Nil):
		return lifecycle.Pace{}, nil
	case err != nil:
		return lifecycle.Pace{}, failed(ctx, err)
	}
	var p lifecycle.Pace
	fields := strings.Fields(value)
	if len(fields) != 4 {
		return p, nil
	}
	for i, n := range []*float64{&p.Count, &p.Took, &p.Busy} {
		if *n, err = strconv.ParseFloat(fields[i], 64); err != nil || !(*n >= 0) {
			return lifecycle.Pace{}, nil // what is damaged is not known, and will be written anew
		}
	}
	at, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil {
		return lifecycle.Pace{}, nil
	}
	p.At = time.UnixMicro(at).UTC()
	return p, nil
}
