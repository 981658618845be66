package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/lifecycle/suggest"
)

// The bounds and defaults of an endpoint's options.
const (
	defaultTimeout     = 15 * time.Second
	maxTimeout         = 60 * time.Second
	defaultConcurrency = 8
	maxConcurrency     = 64
	maxRate            = 10_000
	maxAttempts        = 20
	maxDelay           = 7 * 24 * time.Hour
	maxFilters         = 100
	maxHeaders         = 20
)

// defaultSchedule is what the Standard Webhooks specification recommends: ten attempts in
// three and a half days.
var defaultSchedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// check sets defaults and refuses what is not allowed.
func (s *Service) check(ctx context.Context, e *Endpoint) error {
	if err := s.checkOptions(e); err != nil {
		return err
	}
	if err := s.sender.checkURL(ctx, e.URL); err != nil {
		return err
	}
	return nil
}

func (s *Service) checkOptions(e *Endpoint) error {
	e.Timeout = cmp.Or(e.Timeout, defaultTimeout)
	e.Concurrency = cmp.Or(e.Concurrency, defaultConcurrency)
	if e.Schedule == nil {
		e.Schedule = defaultSchedule
	}
	switch {
	case e.Timeout < time.Second || e.Timeout > maxTimeout:
		return &InvalidError{"timeout", "want 1s to 60s"}
	case e.Concurrency < 1 || e.Concurrency > maxConcurrency:
		return &InvalidError{"concurrency", "want 1 to 64"}
	case math.IsNaN(e.Rate) || e.Rate < 0 || e.Rate > maxRate:
		return &InvalidError{"rate", "want 0 to 10000 a second"}
	case e.exceeds():
		return &InvalidError{"rate", fmt.Sprintf("want no more than the receiver allowed in its handshake, %.0f a minute; to ask it again, register it anew", e.Allowed*60)}
	case e.ContentType != "" && e.ContentType != TypeCloudEvent && e.ContentType != TypeJSON:
		return &InvalidError{"contentType", "want " + TypeCloudEvent + " or " + TypeJSON}
	case e.Form != "" && e.Form != FormFull && e.Form != FormThin:
		return &InvalidError{"form", "want " + FormFull + " or " + FormThin + suggest.Mean(e.Form, []string{FormFull, FormThin})}
	case len(e.Schedule) > maxAttempts-1:
		return &InvalidError{"schedule", "want at most 19 delays"}
	case utf8.RuneCountInString(e.Description) > 500:
		return &InvalidError{"description", "want at most 500 characters"}
	}
	for i, d := range e.Schedule {
		if d < 0 || d > maxDelay {
			return &InvalidError{fmt.Sprintf("schedule/%d", i), "want 0s to 168h"}
		}
	}
	if err := checkFilters(e); err != nil {
		return err
	}
	return checkHeaders(e.Headers)
}

func checkFilters(e *Endpoint) error {
	for name, list := range map[string][]string{"events": e.Types, "routes": e.Routes, "topics": e.Topics} {
		if len(list) > maxFilters {
			return &InvalidError{name, "want at most 100"}
		}
	}
	for i, t := range e.Types {
		if !slices.Contains(eventTypes, t) {
			return &InvalidError{fmt.Sprintf("events/%d", i), "want one of " + strings.Join(eventTypes, ", ")}
		}
	}
	for i, route := range e.Routes {
		if !lifecycle.ValidRoute(route) {
			return &InvalidError{fmt.Sprintf("routes/%d", i), "want the name of a route"}
		}
	}
	for i, topic := range e.Topics {
		if prefix, open := strings.CutSuffix(topic, "*"); (!open || prefix != "") && !lifecycle.ValidTopic(prefix) {
			return &InvalidError{fmt.Sprintf("topics/%d", i), "want a topic, or the beginning of one and *"}
		}
	}
	return nil
}

// pointer escapes what becomes part of a JSON pointer (RFC 6901, section 3).
var pointer = strings.NewReplacer("~", "~0", "/", "~1")

// checkHeaders refuses headers that are ours or the connection's.
func checkHeaders(headers map[string]string) error {
	if len(headers) > maxHeaders {
		return &InvalidError{"headers", "want at most 20"}
	}
	given := make(map[string]string, len(headers)) // by canonical name
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value, canonical := headers[name], http.CanonicalHeaderKey(name)
		at := "headers/" + pointer.Replace(name)
		other, twice := given[canonical]
		given[canonical] = name
		switch {
		case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) || len(name)+len(value) > 1024:
			return &InvalidError{at, "is no header, or name and value are longer than 1024 bytes"}
		case twice:
			// Names of headers have no case (RFC 9110, section 5.1): which of them is sent would be
			// chance.
			return &InvalidError{at, "is the same header as " + other + ": give one of them"}
		case strings.HasPrefix(canonical, "Webhook-"), strings.HasPrefix(canonical, "Content-"), strings.HasPrefix(canonical, "Proxy-"),
			slices.Contains([]string{"Host", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "Expect"}, canonical):
			return &InvalidError{at, canonical + " cannot be set"}
		}
	}
	return nil
}
